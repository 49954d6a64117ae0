"""Text records to training crops: a block of target tokens with the text around it.

What a model is fed here is what it is asked at inference: prompts, finished blocks before the
block, answers that end, and sometimes text after the block (infilling): a gap right after the
prompt (`--suffix`), in the midst of an answer (its later blocks), or in a text that is itself the
prompt (`[[...]]`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.errors import BadDataError
from common.text.lines import read_objects
from common.text.wordpiece import WordPieceVocabulary

SHORT_BLOCK_SHARE = 0.25
INFILL_SHARE = 0.1
PADDING_SCORED = 8
LONGEST_FINISHED = 192
LONGEST_PREFIX = 384
LONGEST_SUFFIX = 48
SHORTEST_GAP = 8
SHORTEST_BESIDE_GAP = 4
"""Tokens of text that stand after a gap, at least."""
SHORTEST_TEXT_BEFORE = 8
"""Tokens before a gap from which on they can be its prompt."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a training file, as ids without template tokens."""

    source: str
    prompt: tuple[int, ...]
    context: tuple[int, ...]
    response: tuple[int, ...]
    plain: bool
    """True for running text, which has no prompt and does not end where it is cut."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One block to learn, and what stands around it."""

    prefix: tuple[int, ...]
    target: tuple[int, ...]
    """Block length ids; [END] ends the answer and fills the rest."""
    scored: int
    """Positions from the first that the loss counts: the answer, its end and a capped amount of
    padding.
    """
    suffix: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops of one block length as tensors."""

    input_ids: Tensor
    """(batch, length) int64; [MASK] at block positions, [PAD] after the end."""
    attention_mask: Tensor | None
    """(batch, length) bool; None when no row is padded."""
    block_start: Tensor
    """(batch,) int64."""
    target: Tensor
    """(batch, block) int64."""
    scored: Tensor
    """(batch, block) bool."""


def read_records(path: Path, vocabulary: WordPieceVocabulary) -> list[Record]:
    """Records of a JSONL file: `instruction`, optional `context`, `response`; or `text`. `source`
    is optional.

    Raises:
        BadDataError: it cannot be read, or a line is no such record.
    """
    rows = read_objects(path)
    keys = ("instruction", "context", "response", "text")
    for place, row in rows:
        strings = all(isinstance(row.get(key) or "", str) for key in (*keys, "source"))
        match row:
            case {"text": str()} | {"instruction": str(), "response": str()} if strings:
                continue
        raise BadDataError(
            f'{place}: expected {{"instruction", "response"}} or {{"text"}}, strings, '
            f"got {str(row)[:80]}",
            remedy="Correct that line",
        )
    parts = [vocabulary.encode_batch([row.get(key) or "" for _, row in rows]) for key in keys]
    return [
        Record(row.get("source") or path.stem, tuple(p), tuple(c), tuple(x or r), bool(x))
        for (_, row), p, c, r, x in zip(rows, *parts, strict=True)
    ]


def crops_of(
    record: Record, vocabulary: WordPieceVocabulary, *, block_length: int, rng: np.random.Generator
) -> Iterator[Crop]:
    """All blocks of a record, in the forms that inference meets."""
    if record.plain:
        yield from _continuations(record.response, vocabulary, block_length, rng)
        return
    before = vocabulary.prompt_ids(record.prompt, record.context)
    if len(before) > LONGEST_PREFIX - LONGEST_FINISHED:
        return
    if rng.random() < INFILL_SHARE and len(record.response) >= 24:
        yield _gap_in_answer(record, before, vocabulary, block_length, rng)
        return
    for start in range(0, min(len(record.response) + 1, LONGEST_FINISHED + 1), block_length):
        yield _block(
            (*before, *record.response[:start]), record.response[start:], vocabulary, block_length
        )


def _block(
    prefix: Sequence[int], rest: Sequence[int], vocabulary: WordPieceVocabulary, length: int
) -> Crop:
    target = (*rest, *(vocabulary.end,) * length)[:length]
    return Crop(tuple(prefix), target, min(length, len(rest) + 1 + PADDING_SCORED), ())


def _gap_in_answer(
    record: Record,
    before: Sequence[int],
    vocabulary: WordPieceVocabulary,
    length: int,
    rng: np.random.Generator,
) -> Crop:
    text = record.response
    latest = len(text) - SHORTEST_GAP - SHORTEST_BESIDE_GAP
    start = int(rng.integers(0, min(latest + 1, LONGEST_FINISHED)))
    form = rng.random()
    if form < 0.5 and start >= SHORTEST_TEXT_BEFORE:
        prefix = vocabulary.prompt_ids(text[:start], record.context)
    else:
        start = start if form < 0.75 else 0
        prefix = (*before, *text[:start])
    return _gap(text, start, prefix, vocabulary, length, rng)


def _gap(
    text: Sequence[int],
    start: int,
    prefix: Sequence[int],
    vocabulary: WordPieceVocabulary,
    length: int,
    rng: np.random.Generator,
) -> Crop:
    """A block with text on both sides; it ends wherever the gap does, in a sentence or not."""
    if rng.random() < SHORT_BLOCK_SHARE and length // 2 >= SHORTEST_GAP:
        length //= 2  # a cap on a gap makes a block shorter than those of answers
    longest = min(length, len(text) - start - SHORTEST_BESIDE_GAP)
    gap = int(rng.integers(min(SHORTEST_GAP, longest), longest + 1))
    crop = _block(prefix, text[start : start + gap], vocabulary, length)
    after = text[start + gap : start + gap + int(rng.integers(4, LONGEST_SUFFIX))]
    return Crop(crop.prefix, crop.target, crop.scored, vocabulary.suffix_ids(after))


def _continuations(
    text: Sequence[int], vocabulary: WordPieceVocabulary, length: int, rng: np.random.Generator
) -> Iterator[Crop]:
    for start in range(int(rng.integers(length)), len(text) - length + 1, length):
        seen = text[max(0, start - int(rng.integers(8, 97))) : start]
        if rng.random() < INFILL_SHARE and len(seen) >= SHORTEST_TEXT_BEFORE:
            yield _gap(text, start, vocabulary.prompt_ids(seen), vocabulary, length, rng)
            continue
        split = int(rng.integers(len(seen) + 1)) if rng.random() < 0.5 else len(seen)
        prefix = (*vocabulary.prompt_ids(seen[:split]), *seen[split:])
        yield Crop(prefix, tuple(text[start : start + length]), length, ())


def epoch_batches(
    records: Sequence[Record],
    vocabulary: WordPieceVocabulary,
    *,
    shares: Mapping[str, float],
    block_length: int,
    batch_size: int,
    seed: int,
    epoch: int,
) -> list[list[Crop]]:
    """The batches of an epoch, a pure function of its arguments, so that a resumed run meets the
    same ones.

    `shares` gives the number of passes an epoch makes over a source (default 1; .5 takes each
    record every other time). Crops of similar length share a batch.
    """
    rng = np.random.default_rng([seed, epoch])
    crops: list[Crop] = []
    for record in records:
        share = shares.get(record.source, 1.0)
        for _ in range(int(share) + int(rng.random() < share % 1)):
            length = block_length // 2 if rng.random() < SHORT_BLOCK_SHARE else block_length
            crops.extend(crops_of(record, vocabulary, block_length=length, rng=rng))
    rng.shuffle(crops)
    batches: list[list[Crop]] = []
    window = 64 * batch_size
    for start in range(0, len(crops), window):
        part = sorted(
            crops[start : start + window],
            key=lambda c: (len(c.target), len(c.prefix) + len(c.suffix)),
        )
        for length in sorted({len(c.target) for c in part}):
            same = [c for c in part if len(c.target) == length]
            batches.extend(
                same[i : i + batch_size] for i in range(0, len(same) - batch_size + 1, batch_size)
            )
    rng.shuffle(batches)
    return batches


def without_context(crop: Crop, vocabulary: WordPieceVocabulary) -> Crop:
    """The crop as the large model sees it: public text alone."""
    if crop.prefix[1:2] != (vocabulary.context,):
        return crop
    after = crop.prefix.index(vocabulary.sep) + 1
    return replace(crop, prefix=(crop.prefix[0], *crop.prefix[after:]))


def collate(crops: Sequence[Crop], vocabulary: WordPieceVocabulary) -> Batch:
    """Crops of one block length as a padded batch."""
    block = len(crops[0].target)
    sizes = [len(c.prefix) + block + len(c.suffix) for c in crops]
    input_ids = torch.full((len(crops), max(sizes)), vocabulary.pad)
    for row, crop in enumerate(crops):
        ids = (*crop.prefix, *(vocabulary.mask,) * block, *crop.suffix)
        input_ids[row, : len(ids)] = torch.tensor(ids)
    padded = min(sizes) < max(sizes)
    return Batch(
        input_ids=input_ids,
        attention_mask=torch.arange(max(sizes)) < torch.tensor(sizes).unsqueeze(1)
        if padded
        else None,
        block_start=torch.tensor([len(c.prefix) for c in crops]),
        target=torch.tensor([c.target for c in crops]),
        scored=torch.arange(block) < torch.tensor([c.scored for c in crops]).unsqueeze(1),
    )
