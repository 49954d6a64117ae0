"""TESS 2: simplex diffusion with a dense state, times from (N - 1) / N to 0, and self-conditioning
on its own raw logits."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import MistralConfig, MistralForCausalLM

from common.denoising.process import NOTHING, Advanced, Draft, Scored, View
from common.denoising.streams import Purpose, Stream
from common.processes.simplex.schedule import alpha_bar
from tests.parity.families import settings
from tests.parity.playing import fixture
from tests.parity.predictors import WholeSequence

K = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A block of noisy logits."""

    block: int
    step: int
    t: float
    simplex: Tensor
    """(positions, V) fp32."""
    ids: np.ndarray
    """(positions,) int64, what it was projected to; `NOTHING` at step 0."""

    @property
    def positions(self) -> int:
        return len(self.simplex)

    @property
    def noise(self) -> float:
        return self.t

    @property
    def ids_shown(self) -> dict[str, np.ndarray]:
        return {"state": self.draft.ids}

    @property
    def draft(self) -> Draft:
        ids = self.ids[:, None][:, : self.step]
        return Draft(ids, np.zeros(len(ids), np.bool_), np.ones(len(ids), np.float32))


@dataclass(frozen=True)
class Tess2:
    """The greedy projection, re-noised."""

    block_length: int
    steps: int
    vocabulary_size: int

    name = "simplex"
    grid = False
    replays = True
    draw = None

    def start(self, block: int, given: tuple[int, ...], stream: Stream) -> Dense:
        nothing = np.full(self.block_length, NOTHING)
        return self._state(block, 0, self._noise(block, 0, stream), nothing)

    def open(self, state: Dense) -> np.ndarray:
        return np.arange(self.block_length)

    def condition(self, state: Dense, own: Tensor | None) -> Tensor:
        return torch.zeros(1, *state.simplex.shape) if own is None else own

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

    def advance(self, state: Dense, scored: Scored, stream: Stream) -> Advanced:
        ids = scored.scores[0].argmax(-1).cpu()
        if state.step == self.steps - 1:
            return Advanced(ids.numpy(), None)
        signal = alpha_bar(torch.tensor(max(self._left(state.step) - 1, 0) / self.steps)).float()
        projected = torch.full_like(state.simplex, -K).scatter(-1, ids.unsqueeze(-1), K)
        noise = self._noise(state.block, state.step + 1, stream)
        simplex = signal.sqrt() * projected + (1 - signal).sqrt() * noise
        return Advanced(ids.numpy(), self._state(state.block, state.step + 1, simplex, ids.numpy()))

    def _noise(self, block: int, step: int, stream: Stream) -> Tensor:
        shape = (self.block_length, self.vocabulary_size)
        return (K * stream.normal(Purpose.DENSE_NORMALS, (block, step), shape)).float()

    def _left(self, step: int) -> int:
        return self.steps - 1 - step

    def _state(self, block: int, step: int, simplex: Tensor, ids: np.ndarray) -> Dense:
        return Dense(block, step, self._left(step) / self.steps, simplex, ids)


@dataclass
class Tess2LM(WholeSequence):
    """Mistral with an all-visible mask, fed probabilities; its logits are of the next position."""

    time: nn.Linear

    def _rows(self, view: View) -> Tensor:
        words = self.model.get_input_embeddings()
        p = view.state.simplex.softmax(-1)
        if view.condition is not None:
            p = (p + view.condition[0].softmax(-1)) / 2
        block = p @ words.weight + self.time(torch.tensor([view.state.t]))
        before, after = (
            words(torch.tensor(ids, dtype=torch.int64)) for ids in (view.prefix, view.suffix)
        )
        embeds = torch.cat((before, block, after)).unsqueeze(0)
        visible = torch.zeros(1, 1, embeds.shape[1], embeds.shape[1])
        logits = self.model(inputs_embeds=embeds, attention_mask=visible, use_cache=False).logits
        shifted = torch.cat((torch.zeros_like(logits[:, :1]), logits[:, :-1]), 1)
        return shifted[:, len(view.prefix) + torch.from_numpy(view.open)] / view.temperature


@functools.cache
def tess2() -> Tess2LM:
    family = fixture("tess-2")
    config = family.config
    time = nn.Linear(1, config["hidden_size"], bias=False)
    time.load_state_dict({"weight": family.weights.pop("timestep_embed.weight")})
    model = MistralForCausalLM(MistralConfig(**settings(config, head_dim=None)))
    return Tess2LM(family.fill(model), time)
