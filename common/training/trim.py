"""A smaller vocabulary from a larger one: the pieces that the training text uses.

Run `python -m common.training.trim --source TOKENIZER.json --out DIR FILE.jsonl ...`.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from common.program.console import run
from common.program.saving import appearing
from common.text.lines import read_objects
from common.text.wordpiece import SPECIAL, WordPieceVocabulary

PIECES = 15_000

_PLAIN = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u2026": "...",
}
"""Printed quotes, dashes and ellipses, written as the training text writes them."""


def trim(source: Tokenizer, texts: Iterable[str], size: int) -> WordPieceVocabulary:
    """A smaller vocabulary of the same kind: template tokens, the characters in use, and the pieces
    most used.

    Args:
        source: a WordPiece tokenizer (the 30522-piece uncased one).
        texts: training text to count pieces on.
        size: pieces to keep, template tokens included.

    A word whose piece was dropped is written with smaller pieces. Characters beyond Latin-1 that
    the training text uses less than three times become unknown: their embeddings would be
    untrained.
    """
    spec = json.loads(source.to_str())
    ranked: dict[str, int] = spec["model"]["vocab"]
    by_id = sorted(ranked, key=ranked.__getitem__)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(source.encode(text, add_special_tokens=False).tokens)
    single = [p for p in by_id if len(p.removeprefix("##")) == 1]
    alive = {
        p.removeprefix("##") for p in single if counts[p] >= 3 or ord(p.removeprefix("##")) < 0x100
    }
    characters = {p for p in single if p.removeprefix("##") in alive}
    ordinary = [p for p in by_id if p not in single and not (p.startswith("[") and p.endswith("]"))]
    used = sorted((p for p in ordinary if counts[p] >= 3), key=lambda p: (-counts[p], ranked[p]))
    room = size - len(SPECIAL) - len(characters)
    kept = set(used[:room]) | characters
    pieces = [*SPECIAL, *(p for p in by_id if p in kept)]
    replace = [
        {"type": "Replace", "pattern": {"String": a}, "content": b} for a, b in _PLAIN.items()
    ]
    spec["normalizer"] = {"type": "Sequence", "normalizers": [*replace, spec["normalizer"]]}
    spec["model"]["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    spec["added_tokens"] = [
        dict(
            id=i,
            content=p,
            single_word=False,
            lstrip=False,
            rstrip=False,
            normalized=False,
            special=True,
        )
        for i, p in enumerate(SPECIAL)
    ]
    spec["post_processor"] = spec["padding"] = spec["truncation"] = None
    return WordPieceVocabulary(Tokenizer.from_str(json.dumps(spec)))


def training_texts(paths: Sequence[Path]) -> Iterator[str]:
    """All text of JSONL files of training records."""
    for path in paths:
        for _, row in read_objects(path):
            yield " ".join(row.get(k) or "" for k in ("instruction", "context", "response", "text"))


def inflation(source: Tokenizer, trimmed: WordPieceVocabulary, texts: Sequence[str]) -> float:
    """How many more tokens the texts have in the trimmed vocabulary: a share of the source's."""
    before = sum(len(e.tokens) for e in source.encode_batch(texts, add_special_tokens=False))
    return sum(map(len, trimmed.encode_batch(texts))) / before - 1


def main() -> None:
    """Write the tokenizer.json of a trimmed vocabulary; say what it costs on held-out text."""
    parser = argparse.ArgumentParser(prog="trim", description=__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="JSONL files of training text")
    parser.add_argument("--source", type=Path, required=True, help="tokenizer.json to trim")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--size", type=int, default=PIECES, help="pieces to keep (default %(default)s)"
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="JSONL files whose tokens are counted in both vocabularies (default: none)",
    )
    options = parser.parse_args()
    source = Tokenizer.from_file(str(options.source))
    source.no_padding()
    source.no_truncation()
    vocabulary = trim(source, training_texts(options.data), options.size)
    with appearing(options.out) as folder:
        vocabulary.save(folder)
    for path in options.held_out:
        more = inflation(source, vocabulary, list(training_texts([path])))
        print(f"{path}: {more:+.1%} tokens")


if __name__ == "__main__":
    run(main, program="trim")
