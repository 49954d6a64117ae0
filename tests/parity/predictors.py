"""Published model classes as predictors of masked diffusion."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from common.denoising.process import View
from common.models.predictor import Predictor, Prefix


def canvas(view: View, mask: int) -> tuple[int, ...]:
    """The block's ids as a masked model reads any draft: what is not settled is hidden."""
    draft = view.state.draft
    return tuple(np.where(draft.settled, draft.best, mask).tolist())


@dataclass
class WholeSequence(ABC):
    """A model that reads the prefix, the block and the suffix anew for each view."""

    model: Any

    sees_suffix = True

    @property
    def vocabulary_size(self) -> int:
        return self.model.config.vocab_size

    @property
    def max_positions(self) -> int:
        return self.model.config.max_position_embeddings

    def prefix(self, ids: tuple[int, ...]) -> Prefix:
        return Prefix(ids)

    def extend(self, prefix: Prefix, ids: tuple[int, ...]) -> Prefix:
        return Prefix((*prefix.ids, *ids))

    def predict(self, views: Sequence[View]) -> list[Tensor]:
        return [self._rows(view) for view in views]

    @abstractmethod
    def _rows(self, view: View) -> Tensor:
        """(1, open, V) logits of a view's open positions, divided by its temperature."""


@dataclass
class FullAttention(WholeSequence):
    """Every position sees every other one, so nothing of the prefix can be kept."""

    mask: int
    shift: int = 0
    """How many rows a prediction stands before its position."""

    def _rows(self, view: View) -> Tensor:
        ids = torch.tensor([(*view.prefix, *canvas(view, self.mask), *view.suffix)])
        visible = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
        logits = self.model(ids, attention_mask=visible, use_cache=False).logits
        rows = len(view.prefix) + torch.from_numpy(view.open) - self.shift
        return logits[:, rows.clamp(min=0)].float() / view.temperature


@dataclass
class BlockCausal:
    """Positions of a block of the grid see each other and all before; whole blocks of the prefix
    are kept, and what is left of it is read again with the block."""

    model: Any
    mask: int
    block_length: int
    keeps: bool = True

    sees_suffix = False

    @property
    def vocabulary_size(self) -> int:
        return self.model.config.vocab_size

    @property
    def max_positions(self) -> int:
        return self.model.config.max_position_embeddings

    def prefix(self, ids: tuple[int, ...]) -> Prefix:
        return self.extend(Prefix((), DynamicCache(config=self.model.config)), ids)

    def extend(self, prefix: Prefix, ids: tuple[int, ...]) -> Prefix:
        whole = (*prefix.ids, *ids)
        if not self.keeps:
            return Prefix(whole)
        kept = prefix.cache.get_seq_length()
        fresh = whole[kept : len(whole) // self.block_length * self.block_length]
        if fresh:
            self._logits(fresh, prefix.cache)
        return Prefix(whole, prefix.cache)

    def predict(self, views: Sequence[View]) -> list[Tensor]:
        return [self._rows(view) for view in views]

    def _rows(self, view: View) -> Tensor:
        cache = view.cache or DynamicCache(config=self.model.config)
        kept = cache.get_seq_length()
        ids = (*view.prefix[kept:], *canvas(view, self.mask))
        logits = self._logits(ids, cache)
        cache.crop(-len(ids))
        rows = len(view.prefix) - kept + torch.from_numpy(view.open)
        return logits[:, rows].float() / view.temperature

    def _logits(self, ids: tuple[int, ...], cache: DynamicCache) -> Tensor:
        """Logits of ids that stand behind the cache, and their keys and values in it."""
        kept = cache.get_seq_length()
        place = torch.arange(kept + len(ids))
        block = place // self.block_length
        hidden = block > block[kept:].unsqueeze(-1)
        visible = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        return self.model(
            torch.tensor([ids]),
            visible[None, None],
            place[kept:].unsqueeze(0),
            cache,  # by place: its name changes within the supported versions
            use_cache=True,
        ).logits


@dataclass
class Guided:
    """Classifier-free guidance as LLaDA has it: a second view without the prompt."""

    inner: Predictor
    scale: float
    mask: int

    @property
    def vocabulary_size(self) -> int:
        return self.inner.vocabulary_size

    @property
    def max_positions(self) -> int:
        return self.inner.max_positions

    @property
    def sees_suffix(self) -> bool:
        return self.inner.sees_suffix

    def prefix(self, ids: tuple[int, ...]) -> Prefix:
        return self.inner.prefix(ids)

    def extend(self, prefix: Prefix, ids: tuple[int, ...]) -> Prefix:
        return self.inner.extend(prefix, ids)

    def predict(self, views: Sequence[View]) -> list[Tensor]:
        bare = [replace(v, prefix=(self.mask,) * len(v.prefix), cache=None) for v in views]
        rows = self.inner.predict([*views, *bare])
        pairs = zip(rows[: len(views)], rows[len(views) :], strict=True)
        return [without + (self.scale + 1) * (guided - without) for guided, without in pairs]
