"""Training a guide: texts with labels to a classifier that also knows what half-made text means.

At a sampling step the guide reads softmax(logits): early on every position believes much the same
of the words that the answer may have, later each is sure of its own. Half of the texts are
therefore read with a doubt, evenly from none to all: mass moves from each position's token to the
tokens of the whole text, and to the unigram prior; a run tells the held-out accuracy by doubt.

Every random choice of step n is a function of (seed, n).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.guidance.classifier import SimplexClassifier, SimplexClassifierConfig
from common.guidance.texts import Text, blocks_of
from common.models import registry
from common.models.simplex_network import SimplexDiffusionLM
from common.processes.simplex.state import Bag
from common.text.wordpiece import WordPieceVocabulary

DOUBTS = (0.0, 0.5, 0.9, 1.0)
"""Doubts at which the held-out accuracy is reported."""
SPREAD = 0.5
"""Share of the doubt that the prior has there."""


@dataclass(frozen=True, slots=True)
class GuideTraining:
    """Settings of a run."""

    steps: int = 300
    """Optimiser steps."""
    batch_size: int = 32
    """Texts a step."""
    learning_rate: float = 1e-3
    """Peak, reached after a tenth of the steps; it falls linearly to nothing."""
    weight_decay: float = 0.01
    """AdamW's."""
    clip: float = 1.0
    """Largest gradient norm."""
    clean_share: float = 0.5
    """Share of the texts that are read without doubt."""
    seed: int = 0
    """Of every random choice."""

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        warmup = max(1, self.steps // 10)
        return self.learning_rate * min((step + 1) / warmup, (self.steps - step) / self.steps)


class GuideTrainer:
    """State of a run; `step()` is one optimiser step."""

    def __init__(
        self,
        start: SimplexDiffusionLM,
        vocabulary: WordPieceVocabulary,
        texts: Sequence[Text],
        config: GuideTraining,
    ):
        """Build a classifier on the start's encoder; its word embeddings stay as they are.

        Words that the labelled texts lack then still mean what words like them mean.
        """
        self._texts, self._vocabulary, self._config = texts, vocabulary, config
        self._start = start.config
        self.labels = sorted({text.label for text in texts})
        torch.manual_seed(config.seed)
        self.classifier = _from_start(start, self.labels)
        self.classifier.log_prior.copy_(_unigrams(texts, vocabulary).to(start.device))
        free = [p for p in self.classifier.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            free, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self._free = free
        self.steps_done = 0

    def step(self) -> float:
        """One optimiser step; gives its loss in nats."""
        config, device = self._config, self.classifier.device
        rng = np.random.default_rng([config.seed, self.steps_done])
        torch.manual_seed(int(rng.integers(2**62)))  # a start may have dropout
        chosen = [self._texts[i] for i in rng.integers(len(self._texts), size=config.batch_size)]
        ids = blocks_of(chosen, self._vocabulary, length=self._start.block_length, rng=rng)
        unsure = rng.random(len(ids)) >= config.clean_share
        doubt = torch.from_numpy(np.where(unsure, rng.random(len(ids)), 0.0))
        spread = torch.from_numpy(rng.random(len(ids)))
        beliefs = doubted(ids.to(device), doubt.to(device), spread.to(device))
        for group in self._optimizer.param_groups:
            group["lr"] = config.rate(self.steps_done)
        logits = self.classifier.train()(beliefs).logits
        loss = torch.nn.functional.cross_entropy(logits, self._targets(chosen))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._free, config.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        return loss.item()

    @torch.inference_mode()
    def accuracy(self, texts: Sequence[Text], *, doubt: float = 0.0) -> float:
        """Share of texts whose label is the likeliest, read with a doubt; each label counts alike,
        so that chance is one over the number of labels.
        """
        right: Counter[str] = Counter()
        device = self.classifier.device
        for begin in range(0, len(texts), self._config.batch_size):
            part = texts[begin : begin + self._config.batch_size]
            ids = blocks_of(part, self._vocabulary, length=self._start.block_length)
            amount = torch.full((len(ids),), doubt, device=device)
            beliefs = doubted(ids.to(device), amount, torch.full_like(amount, SPREAD))
            logits = self.classifier.eval()(beliefs).logits
            said = [self.labels[i] for i in logits.argmax(-1).tolist()]
            right.update(x.label for x, y in zip(part, said, strict=True) if x.label == y)
        counts = Counter(text.label for text in texts)
        return sum(right[label] / count for label, count in counts.items()) / len(counts)

    def _targets(self, texts: Sequence[Text]) -> Tensor:
        places = [self.labels.index(text.label) for text in texts]
        return torch.tensor(places, device=self.classifier.device)


def doubted(ids: Tensor, doubt: Tensor, spread: Tensor) -> Bag:
    """What might be believed of texts that are not sure yet.

    Args:
        ids: (texts, positions) int64, the tokens.
        doubt: (texts,) mass that each position does not put on its own token.
        spread: (texts,) share of that mass which is spread by the prior; the rest of it is on the
            text's tokens alike, wherever they stand.
    """
    positions = ids.shape[1]
    doubt, spread = doubt.float().view(-1, 1, 1), spread.float().view(-1, 1, 1)
    anywhere = ids.unsqueeze(1).expand(-1, positions, -1)
    share = (doubt * (1 - spread) / positions).expand(-1, positions, positions)
    return Bag(
        ids=torch.cat((ids.unsqueeze(-1), anywhere), -1),
        weights=torch.cat(((1 - doubt).expand(-1, positions, 1), share), -1),
        rest=(doubt * spread).squeeze(-1).expand(-1, positions),
    )


def _from_start(start: SimplexDiffusionLM, labels: list[str]) -> SimplexClassifier:
    backbone = start.config.backbone.to_dict()
    config = SimplexClassifierConfig(backbone, labels, start.config.tokenizer_sha256)
    classifier = SimplexClassifier(config)
    classifier.encoder.load_state_dict(start.encoder.state_dict())
    classifier.get_input_embeddings().weight.requires_grad_(False)
    return registry.placed(classifier, str(start.device))


def _unigrams(texts: Sequence[Text], vocabulary: WordPieceVocabulary) -> Tensor:
    """Log-probabilities (V,) fp32; a piece that the texts lack counts a tenth."""
    counts = torch.full((vocabulary.size,), 0.1)
    for text in texts:
        ids = torch.tensor((*text.ids, vocabulary.end))
        counts.index_add_(0, ids, torch.ones(len(ids)))
    return (counts / counts.sum()).log()
