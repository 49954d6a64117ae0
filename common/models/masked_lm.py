"""Masked language models of transformers, such as BERT, RoBERTa and ModernBERT, as a family: a
masked block is read with full attention, like any text with masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from common.denoising.process import NOTHING, View
from common.models.predictor import Uncached
from common.processes.masked.settings import MaskedProcess, MaskedSettings
from common.processes.masked.state import MaskedState

BLOCK_LENGTH = 32
"""Positions of a block where config.json has no `diffusion_block_length`."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskedPredictor(Uncached):
    """A `Predictor` of masked diffusion."""

    network: Any
    """A transformers model with a masked-language-modelling head, in eval mode."""
    mask: int
    """Id of [MASK]."""
    vocabulary_size: int
    """Ids of the vocabulary: rows end here, where those of the model have padding."""

    sees_suffix = True
    process = MaskedProcess(grid=False)
    defaults = MaskedSettings()

    @property
    def block_length(self) -> int:
        """Positions of a block where nothing else is asked for."""
        return int(getattr(self.network.config, "diffusion_block_length", None) or BLOCK_LENGTH)

    @property
    def max_positions(self) -> int:
        """Longest text, in tokens."""
        for name, module in self.network.named_modules():
            if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
                # RoBERTa counts its positions from behind the one that stands for padding.
                unused = 0 if module.padding_idx is None else module.padding_idx + 1
                return module.num_embeddings - unused
        return int(self.network.config.max_position_embeddings)

    def times(self, steps: int) -> tuple[float, ...]:
        """None: a masked state has no time."""
        return ()

    @torch.inference_mode()
    def predict(self, views: Sequence[View]) -> Sequence[Tensor]:
        """Logits of the open positions, (1, open, V) fp32 of each view."""
        texts = [self._text(view) for view in views]
        sizes = torch.tensor([len(text) for text in texts])
        longest = int(sizes.max())
        input_ids = torch.full((len(texts), longest), self.network.config.pad_token_id or 0)
        for row, text in enumerate(texts):
            input_ids[row, : len(text)] = torch.tensor(text)
        shown = torch.arange(longest) < sizes.unsqueeze(1)
        logits = self.network(
            input_ids=input_ids.to(self.device), attention_mask=shown.long().to(self.device)
        ).logits
        rows = []
        for row, view in enumerate(views):
            places = torch.from_numpy(view.open + len(view.prefix)).to(self.device)
            mine = logits[row : row + 1, places, : self.vocabulary_size]
            rows.append(mine.float() / view.temperature)
        return rows

    def _text(self, view: View) -> list[int]:
        """The ids that the model reads, masks among them."""
        ids = cast(MaskedState, view.state).ids
        return [*view.prefix, *np.where(ids == NOTHING, self.mask, ids).tolist(), *view.suffix]
