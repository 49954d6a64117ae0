"""The template, files, fingerprint and the reading of text."""

import json
from pathlib import Path

import pytest

from common.errors import BadModelError
from common.text.wordpiece import SPECIAL, WordPieceVocabulary
from tests.text.source import source_tokenizer
from tests.tiny import tiny_vocabulary

# Template tokens


@pytest.mark.parametrize("piece", SPECIAL)
def test_template_tokens_in_a_text_are_text(trimmed, piece):
    for text in (piece, f"add {piece} salt", f"{piece}{piece}"):
        ids = trimmed.encode(text).ids
        assert ids
        assert all(i >= len(SPECIAL) for i in ids)
        assert all(i >= len(SPECIAL) for i in trimmed.encode_batch([text])[0])


def test_template_tokens_in_a_text_are_text_after_loading(trimmed, tmp_path):
    trimmed.save(tmp_path)
    loaded = WordPieceVocabulary.load(tmp_path)
    assert loaded.encode("[SEP]").ids == trimmed.encode("[SEP]").ids
    assert 3 not in loaded.encode("[SEP]").ids


def test_the_template(trimmed):
    v = trimmed
    assert (v.pad, v.unk, v.cls, v.sep, v.mask, v.end, v.context) == tuple(range(7))
    assert v.prompt_ids((20, 21)) == (v.cls, 20, 21, v.sep)
    assert v.prompt_ids((20,), (30, 31)) == (v.cls, v.context, 30, 31, v.sep, 20, v.sep)
    assert v.suffix_ids((40,)) == (40, v.sep)
    assert v.suffix_ids(()) == ()


def test_only_the_end_of_the_template_may_be_answered(trimmed):
    assert set(trimmed.forbidden) == set(range(len(SPECIAL))) - {trimmed.end}


def test_a_tokenizer_without_the_template_is_refused():
    with pytest.raises(BadModelError, match="template token"):
        WordPieceVocabulary(source_tokenizer())


# Files


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(BadModelError, match="found none"):
        WordPieceVocabulary.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b'{"model": 1}'])
def test_a_broken_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BadModelError, match="not a tokenizer"):
        WordPieceVocabulary.load(tmp_path)


# Fingerprint


def changed(vocabulary: WordPieceVocabulary, folder: Path, change) -> WordPieceVocabulary:
    vocabulary.save(folder)
    path = folder / "tokenizer.json"
    spec = json.loads(path.read_text(encoding="utf-8"))
    change(spec)
    path.write_text(json.dumps(spec), encoding="utf-8")
    return WordPieceVocabulary.load(folder)


def test_the_fingerprint_is_stable(tmp_path):
    vocabulary = tiny_vocabulary()
    assert len(vocabulary.fingerprint) == 32
    assert vocabulary.fingerprint == tiny_vocabulary().fingerprint
    assert changed(vocabulary, tmp_path, lambda _: None).fingerprint == vocabulary.fingerprint
    # Sessions between versions depend on it.
    assert vocabulary.fingerprint.hex()[:16] == "46ec8b0aa62e5211"


def swap(spec) -> None:
    pieces = spec["model"]["vocab"]
    pieces["soup"], pieces["cake"] = pieces["cake"], pieces["soup"]


def rename(spec) -> None:
    pieces = spec["model"]["vocab"]
    pieces["stew"] = pieces.pop("soup")


def append(spec) -> None:
    spec["model"]["vocab"]["stew"] = len(spec["model"]["vocab"])


def keep_case(spec) -> None:
    spec["normalizer"]["lowercase"] = False


def split_otherwise(spec) -> None:
    spec["pre_tokenizer"] = {"type": "Whitespace"}


@pytest.mark.parametrize("change", [swap, rename, append, keep_case, split_otherwise])
def test_the_fingerprint_sees_every_part(tmp_path, change):
    vocabulary = tiny_vocabulary()
    assert changed(vocabulary, tmp_path, change).fingerprint != vocabulary.fingerprint


# Text in


def test_unknown_pieces_are_reported_as_they_were_written(trimmed):
    encoded = trimmed.encode("add \u6f22 Salt \u0416\u0416 soup")
    assert encoded.unknown == ("\u6f22", "\u0416\u0416")
    assert encoded.ids.count(trimmed.unk) == 2
    assert trimmed.encode("add salt").unknown == ()


def test_an_empty_text_has_no_ids(trimmed):
    assert trimmed.encode("").ids == ()
    assert trimmed.encode(" \n\t ").ids == ()


@pytest.mark.parametrize(
    ("printed", "plain"),
    [
        ("don\u2019t", "don't"),
        ("\u2018hello\u2019", "'hello'"),
        ("\u201chello\u201d", '"hello"'),
        ("salt \u2013 soup", "salt - soup"),
        ("salt\u2014soup", "salt-soup"),
        ("5 \u2212 3", "5 - 3"),
        ("soup\u2026", "soup..."),
    ],
)
def test_printed_quotes_and_dashes_are_read(trimmed, printed, plain):
    encoded = trimmed.encode(printed)
    assert encoded.unknown == ()
    assert encoded.ids == trimmed.encode(plain).ids
