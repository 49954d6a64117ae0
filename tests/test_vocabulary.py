import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from common.errors import BadModelError
from common.text.detokenising import for_reading, printed
from common.text.wordpiece import SPECIAL, WordPieceVocabulary
from common.training.trim import inflation, trim
from tests.tiny import tiny_vocabulary

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = ".,;:!?%()[]{}'\"-/&$°+#"


def split(text: str) -> list[str]:
    return text.split()


def source_tokenizer(extra: str = "") -> Tokenizer:
    """A small WordPiece tokenizer of the kind that trimming starts from."""
    words = split("the soup cook don u s e g add salt hello we ##ing ##s ##° rareword")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *MARKS, *extra, *words]
    pieces += [f"##{c}" for c in (*LETTERS, *extra)]
    unique = dict.fromkeys(pieces)
    model = models.WordPiece({p: i for i, p in enumerate(unique)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


@pytest.fixture(scope="module")
def trimmed() -> WordPieceVocabulary:
    return trim(source_tokenizer(), ["the soup cook don add salt hello we"] * 5, 400)


def test_a_dropped_piece_costs_tokens():
    source = source_tokenizer()
    all_kept = trim(source, ["the soup cook don add salt hello we"] * 5, 400)
    none_kept = trim(source, ["the"] * 5, 400)
    assert inflation(source, all_kept, ["the soup", "salt"]) == 0
    assert inflation(source, none_kept, ["the soup", "salt"]) == pytest.approx((1 + 4 + 4) / 3 - 1)


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


# Trimming


def test_trimming_keeps_the_template_first(trimmed):
    assert tuple(trimmed.pieces(range(len(SPECIAL)))) == SPECIAL


def test_trimming_keeps_characters_and_used_words(trimmed):
    pieces = set(trimmed.pieces(range(trimmed.size)))
    assert set(LETTERS) | set(MARKS) | {f"##{c}" for c in LETTERS} <= pieces
    assert {"soup", "salt", "hello"} <= pieces
    assert "rareword" not in pieces


def test_a_dropped_word_is_written_with_characters(trimmed):
    encoded = trimmed.encode("rareword")
    assert encoded.unknown == ()
    assert trimmed.decode(encoded.ids) == "Rareword"


def test_trimming_keeps_to_its_size():
    texts = ["soup " * 9 + "salt " * 6 + "hello " * 3]
    room = len(SPECIAL) + 2 * len(LETTERS) + len(MARKS) + 1
    small = trim(source_tokenizer(), texts, room + 2)
    assert small.size == room + 2
    assert len(small.encode("soup salt").ids) == 2
    assert len(small.encode("hello").ids) == 5


def test_trimming_drops_rare_foreign_characters():
    foreign = "\u03c0\u0416\u00e6"
    kept = trim(source_tokenizer(foreign), ["\u03c0 \u03c0 \u03c0 \u0416"], 400)
    assert kept.encode("\u03c0").unknown == ()
    assert kept.encode("\u0416").unknown == ("\u0416",)
    # Latin letters stay though no text has them.
    assert kept.encode("\u00e6").unknown == ()


# Text out


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ("", ""),
        ("add salt . stir !", "Add salt. Stir!"),
        ("cook ##ing soup ##s", "Cooking soups"),
        ("##ing", "Ing"),
        ("what ? i do , and i stir", "What? I do, and I stir"),
        ("salt ( one pinch ) , oil", "Salt (one pinch), oil"),
        ("$ 5 . 00 or £ 3", "$5.00 or £3"),
        ("50 % of it", "50% of it"),
        # Initials and abbreviations
        ("the u . s . has it", "The U.S. has it"),
        ("in 70 a . d . it was", "In 70 A.D. it was"),
        ("j . r . r . came", "J.R.R. came"),
        ("fruit , e . g . apples", "Fruit, e.g. apples"),
        ("i . e . salt", "I.e. salt"),
        ("that is , i . e . salt", "That is, i.e. salt"),
        ("at 10 : 30 p . m . today", "At 10:30 p.m. today"),
        ("mr . smith and dr . jones", "Mr. Smith and Dr. Jones"),
        ("add 3 oz . butter", "Add 3 oz. butter"),
        ("see www . example . com / soup", "See www.example.com/soup"),
        ("plan b . then stir", "Plan b. Then stir"),
        # Numbers
        ("1 , 23 ##4 . 5 men", "1,234.5 men"),
        ("1 , 234 , 567 men", "1,234,567 men"),
        ("rows 1 , 2 , 3", "Rows 1, 2, 3"),
        ("3 . 5 cups", "3.5 cups"),
        ("1 / 2 cup", "1/2 cup"),
        ("in 1998 . 3 men came", "In 1998. 3 men came"),
        ("2 . 5 ##cm deep", "2.5cm deep"),
        ("note : 30 eggs", "Note: 30 eggs"),
        ("350 ##° ##f or 180 ° c", "350°F or 180° c"),
        # Apostrophes
        ("don ' t stop , it ' s hot", "Don't stop, it's hot"),
        ("we ' ll see , i ' m sure you ' ve won", "We'll see, I'm sure you've won"),
        ("the cooks ' knives", "The cooks' knives"),
        ("rock ' n ' roll", "Rock 'n' roll"),
        ("at ten o ' clock", "At ten o'clock"),
        ("hors d ' oeuvres", "Hors d'oeuvres"),
        ("he said ' stop ' and left", "He said 'stop' and left"),
        # Quotes
        ('he said " stop " and left', 'He said "stop" and left'),
        ('" stop ! " he said . " go . "', '"Stop!" he said. "Go."'),
        ('a " b', 'A "b'),
        ("( it is hot . ) stir", "(It is hot.) Stir"),
        # Hyphens
        ("a well - known dish", "A well-known dish"),
        ("and / or", "And/or"),
        ("wait . . . now", "Wait... Now"),
    ],
)
def test_spacing_and_case_for_reading(pieces, expected):
    assert for_reading(split(pieces)) == expected


@given(
    st.lists(st.sampled_from([*"ab1.,'\"-/()i:°$", "##a", "###", "12", "999", "s", "oz", "www"]))
)
@settings(max_examples=200)
def test_reading_loses_no_character_and_adds_only_spaces(pieces):
    text = for_reading(pieces)
    plain = "".join(p.removeprefix("##") if p.startswith("##") else p for p in pieces)
    assert text.replace(" ", "").lower() == plain.lower()
    assert "  " not in text
    assert text == text.lstrip()


@given(st.lists(st.sampled_from([*"ab1.,'\"-/()i:°$", "##a", "###", "##", "12", "s", "oz", "www"])))
@settings(max_examples=200)
def test_every_piece_has_its_place_in_the_text(pieces):
    shown = printed(pieces)
    assert shown.text == for_reading(pieces)
    assert len(shown.spans) == len(shown.words) == len(pieces)
    end, last = 0, -1
    for piece, (a, b), word in zip(pieces, shown.spans, shown.words, strict=True):
        assert shown.text[a:b].lower() == piece.removeprefix("##")
        # Between two words there is one space or none, inside a word there is nothing.
        assert shown.text[end:a] in ({""} if word == last else {"", " "})
        assert word in {last, last + 1}
        end, last = b, word
    assert end == len(shown.text)


def test_words_are_made_of_pieces():
    shown = printed(["cook", "##ing", ",", "don", "'", "t"])
    assert shown.text == "Cooking, don't"
    assert shown.words == (0, 0, 1, 2, 3, 4)
    assert shown.spans == ((0, 4), (4, 7), (7, 8), (9, 12), (12, 13), (13, 14))


def test_the_places_of_ids_end_before_the_end_token(trimmed):
    ids = trimmed.encode("add salt").ids
    assert trimmed.printed((*ids, trimmed.end, *ids)).text == trimmed.decode(ids)
    assert len(trimmed.printed((*ids, trimmed.end, *ids)).spans) == len(ids)


def test_decoding_stops_at_the_end_token(trimmed):
    ids = trimmed.encode("add salt").ids
    assert trimmed.decode((*ids, trimmed.end, *ids)) == "Add salt"
    assert trimmed.decode((trimmed.end,)) == ""
    assert trimmed.decode(()) == ""


def test_ids_that_do_not_exist_are_shown_as_unknown(trimmed):
    assert trimmed.pieces([trimmed.size + 5]) == ["[UNK]"]


@pytest.mark.parametrize(
    "text",
    [
        "Don't add salt. We cook soups (hot) at 10:30 a.m., e.g. 1,234.5 g.",
        "Hello! The U.S. has 50% of the soup; we don't.",
    ],
)
def test_round_trip_for_reading(trimmed, text):
    encoded = trimmed.encode(text)
    assert encoded.unknown == ()
    assert trimmed.decode(encoded.ids) == text
