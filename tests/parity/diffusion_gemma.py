"""DiffusionGemma: every position is a token, the least uncertain are kept and the rest redrawn."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from common.denoising.process import NOTHING, Advanced, Draft, Scored, View
from common.denoising.streams import Purpose, Stream
from common.models.predictor import Prefix


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """A block of tokens, none of which is known to be right."""

    block: int
    step: int
    ids: np.ndarray
    """(positions,) int64."""
    guess: np.ndarray
    """(positions,) int64, the best guesses of the step before; `NOTHING` at step 0."""
    probability: np.ndarray
    """(positions,) fp32, how sure they are."""
    history: tuple[np.ndarray, ...] = ()
    """Best guesses (positions,) of the last steps, as many as must agree."""

    @property
    def positions(self) -> int:
        return len(self.ids)

    @property
    def noise(self) -> float:
        return 1 - float(self.probability.mean())

    @property
    def ids_shown(self) -> dict[str, np.ndarray]:
        return {"state": self.ids, "guesses": self.draft.ids}

    @property
    def draft(self) -> Draft:
        guess = self.guess[:, None][:, : self.step]
        return Draft(guess, np.zeros(len(self.ids), np.bool_), self.probability)


@dataclass(frozen=True)
class Uniform:
    """Positions are accepted while the entropies of the surer ones stay in a bound; a block ends
    when its best guess stands still and is sure."""

    block_length: int
    steps: int
    vocabulary_size: int
    t_min: float = 0.4
    t_max: float = 0.8
    entropy_bound: float = 0.1
    stability: int = 1
    confidence: float = 0.005

    name = "uniform"
    grid = False
    replays = True
    draw = None

    def start(self, block: int, given: tuple[int, ...], stream: Stream) -> Tokens:
        ids = self._noise(block, 0, stream).numpy()
        return Tokens(block, 0, ids, np.full_like(ids, NOTHING), np.zeros(len(ids), np.float32))

    def open(self, state: Tokens) -> np.ndarray:
        return np.arange(self.block_length)

    def condition(self, state: Tokens, own: Tensor | None) -> Tensor | None:
        return None if own is None else own / self._temperature(state.step - 1)

    def remember(self, rows: Tensor) -> Tensor:
        return rows

    def may_end(self, state: Any) -> bool:
        return True

    def follows(self, before: Any, state: Any) -> bool:
        return True

    def needs(self, state: Any) -> None:
        return None

    def row_temperature(self, step: int) -> float:
        return 1.0

    def advance(self, state: Tokens, scored: Scored, stream: Stream) -> Advanced:
        block, step = state.block, state.step
        scores = scored.scores[0].cpu() / self._temperature(step)
        p = scores.softmax(-1)
        exponentials = stream.exponential(Purpose.GUMBEL, (block, step), (len(p), p.shape[1]))
        drawn = (p / exponentials).argmax(-1)
        noise = self._noise(block, step + 1, stream)
        entropy = torch.distributions.Categorical(logits=scores).entropy()
        order = entropy.argsort()
        before = entropy[order].cumsum(-1) - entropy[order]
        accepted = torch.zeros_like(order, dtype=torch.bool)
        accepted[order] = before <= self.entropy_bound
        best = scores.argmax(-1).numpy()
        stable = len(state.history) == self.stability
        stable &= all(np.array_equal(one, best) for one in state.history)
        if (stable and entropy.mean() < self.confidence) or step == self.steps - 1:
            return Advanced(best, None)
        ids = torch.where(accepted, drawn, noise).numpy()
        history = (*state.history, best)[-self.stability :] if self.stability else ()
        after = Tokens(block, step + 1, ids, best, p.amax(-1).numpy(), history)
        return Advanced(best, after, scored.scores)

    def _temperature(self, step: int) -> Tensor:
        return self.t_min + (self.t_max - self.t_min) * (
            torch.tensor(self.steps - step) / self.steps
        )

    def _noise(self, block: int, step: int, stream: Stream) -> Tensor:
        shape = (self.block_length, 1)
        high = self.vocabulary_size
        return stream.integers(Purpose.NOISE_IDS, (block, step), shape, high=high)[:, 0]


@dataclass
class DiffusionGemmaLM:
    """The encoder reads the prefix once, the decoder reads the block and what the encoder kept."""

    model: Any

    sees_suffix = False

    @property
    def vocabulary_size(self) -> int:
        return self.model.config.text_config.vocab_size

    @property
    def max_positions(self) -> int:
        return self.model.config.text_config.max_position_embeddings

    def prefix(self, ids: tuple[int, ...]) -> Prefix:
        return self.extend(Prefix((), DynamicCache(config=self.model.config.text_config)), ids)

    def extend(self, prefix: Prefix, ids: tuple[int, ...]) -> Prefix:
        self.model.model.encoder(input_ids=torch.tensor([ids]), cache=prefix.cache)
        return Prefix((*prefix.ids, *ids), prefix.cache)

    def predict(self, views: Sequence[View]) -> list[Tensor]:
        return [self._rows(view) for view in views]

    def _rows(self, view: View) -> Tensor:
        logits = self.model(
            decoder_input_ids=torch.from_numpy(view.state.ids).unsqueeze(0),
            cache=view.cache or self.prefix(view.prefix).cache,
            self_conditioning_logits=view.condition,
        ).logits
        return logits[:, torch.from_numpy(view.open)] / view.temperature


@functools.cache
def diffusion_gemma() -> DiffusionGemmaLM:
    """Random, with a vision tower because the class asks for one; one layer sees 8 positions.

    A test that asks for it where transformers has none is skipped.
    """
    pytest.importorskip("transformers.models.diffusion_gemma", reason="needs transformers 5.24")
    from transformers import (
        DiffusionGemmaConfig,
        DiffusionGemmaForBlockDiffusion,
        DiffusionGemmaTextConfig,
        Gemma4VisionConfig,
    )

    text = DiffusionGemmaTextConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        global_head_dim=16,
        num_global_key_value_heads=1,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        max_position_embeddings=512,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=16,
        eos_token_id=None,
        bos_token_id=None,
        initializer_range=0.3,
    )
    vision = Gemma4VisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = DiffusionGemmaConfig(
            text_config=text,
            vision_config=vision,
            canvas_length=8,
            image_token_id=299,
            boi_token_id=298,
            eoi_token_id=297,
        )
        model = DiffusionGemmaForBlockDiffusion(config).eval()
    model.model.decoder.norm.weight.data *= 40  # logits that differ clearly
    return DiffusionGemmaLM(model)
