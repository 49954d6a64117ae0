"""The judge: how probable a language model that is not ours finds an answer to its question.

SmolLM2-135M-Instruct (Ben Allal et al., 2025, Apache-2.0) in four bits, from the file that
`scripts/judge` fetches. It is a yardstick of evaluations only; nothing of the product needs it.
"""

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from common.errors import BadModelError, UsageError
from common.models.registry import check_downloads

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
BATCH = 8
"""Answers of a forward pass."""


@dataclass(frozen=True, slots=True)
class Score:
    """What the judge says of one answer."""

    nats: float
    """Negative log-likelihood of the whole answer, given the question."""
    tokens: int
    """Tokens of the answer in the judge's own vocabulary; 0 for an empty answer."""


class Judge(Protocol):
    """Whatever scores answers."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """The score of each (question, answer)."""


def perplexity(scores: Sequence[Score]) -> float:
    """Exp of the mean nats a token over all tokens; NaN where there is none."""
    count = sum(score.tokens for score in scores)
    return math.exp(sum(score.nats for score in scores) / count) if count else math.nan


class ChatJudge:
    """A causal language model that reads question and answer in its chat template."""

    def __init__(self, model: Any, tokenizer: Any, *, batch: int = BATCH):
        """Wrap a transformers model in eval mode and its tokenizer."""
        self._model, self._tokenizer, self._batch = model, tokenizer, batch

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """The score of each (question, answer); the end of the answer is not scored."""
        rows = [(self._prompt(question), self._ids(answer)) for question, answer in pairs]
        scores = [Score(0.0, 0)] * len(rows)
        # Neighbours of one length waste no padding.
        order = sorted(
            (i for i, (_, answer) in enumerate(rows) if answer),
            key=lambda i: sum(map(len, rows[i])),
        )
        for start in range(0, len(order), self._batch):
            chunk = order[start : start + self._batch]
            for i, nats in zip(chunk, self._nats([rows[i] for i in chunk]), strict=True):
                scores[i] = Score(nats, len(rows[i][1]))
        return scores

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _prompt(self, question: str) -> list[int]:
        message = [{"role": "user", "content": question}]
        return self._ids(
            self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        )

    @torch.inference_mode()
    def _nats(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        device = self._model.device
        width = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        seen = torch.zeros(len(rows), width, dtype=torch.int64)
        scored = torch.zeros(len(rows), width, dtype=torch.bool)
        for row, (prompt, answer) in enumerate(rows):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            seen[row, :end] = 1
            scored[row, len(prompt) : end] = True
        hidden: Tensor = self._model.base_model(
            input_ids=ids.to(device), attention_mask=seen.to(device)
        )[0]
        # The head is wide: only what predicts an answer's token goes through it.
        before = hidden[:, :-1][scored[:, 1:].to(device)]
        logits = self._model.get_output_embeddings()(before).float()
        losses = torch.nn.functional.cross_entropy(
            logits, ids[scored].to(device), reduction="none"
        ).double()
        sums = torch.zeros(len(rows), dtype=torch.float64, device=losses.device)
        owners = torch.arange(len(rows)).repeat_interleave(scored.sum(1)).to(device)
        total: list[float] = sums.index_add(0, owners, losses).tolist()
        return total


def check_judge(folder: Path) -> None:
    """See that the judge can be loaded, which takes half a minute, before anything else is done.

    Raises:
        BadModelError: no weights there, or what a failed download leaves.
        UsageError: the packages of the extra `judge` are missing.
    """
    if not (folder / WEIGHTS).is_file():
        raise BadModelError(
            f"expected the judge's weights, {WEIGHTS}, in {folder}; found none",
            remedy="Run scripts/judge to fetch them, or give their folder with --judge",
        )
    check_downloads(folder)
    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the judge needs the extra packages {' and '.join(missing)}",
            remedy="Run scripts/judge, or: pip install gguf accelerate",
        )


def load_judge(folder: Path, *, device: str = "cpu") -> ChatJudge:
    """The judge from its folder.

    Args:
        folder: where `scripts/judge` put the weights.
        device: a torch device.

    Raises:
        BadModelError: no weights there, or they cannot be read.
        UsageError: the packages of the extra `judge` are missing.
    """
    check_judge(folder)
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=WEIGHTS)
        with contextlib.redirect_stderr(io.StringIO()):  # a bar of tensors tells people nothing
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, gguf_file=WEIGHTS, dtype=torch.float32
            )
    except Exception as error:  # gguf, tokenizers and transformers each raise their own
        raise BadModelError(
            f"the judge in {folder} cannot be read: a file of it is damaged",
            remedy=f"Delete {folder / WEIGHTS} and run scripts/judge again",
        ) from error
    return ChatJudge(model.to(device).eval(), tokenizer)
