"""The vocabulary of a foreign tokenizer: what it reads, bars and shows."""

import itertools
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.errors import BadModelError
from common.text.hub import HubVocabulary
from common.text.vocabulary import BLANK
from tests.tiny import tiny_vocabulary
from tests.tiny_masked import SPECIAL, bpe_tokenizer, bpe_vocabulary

PAD, MASK, START, END = range(4)
BYTES = "the soup: 10 °C, 日本 🍲!"


@pytest.fixture(scope="module")
def bpe() -> HubVocabulary:
    return bpe_vocabulary()


def saved(folder: Path, **generation: object) -> Path:
    bpe_tokenizer().save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_what_a_folder_says(bpe: HubVocabulary, tmp_path: Path) -> None:
    loaded = HubVocabulary.load(saved(tmp_path, eos_token_id=[START, END]))
    assert (loaded.size, loaded.mask, loaded.ends) == (bpe.size, MASK, (START, END))
    assert loaded.forbidden == (PAD, MASK)
    assert bpe.forbidden == (PAD, MASK, START)
    assert loaded.summary.difference(bpe.summary) is None
    assert HubVocabulary.load(saved(tmp_path)).ends == (END,)
    assert HubVocabulary.load(saved(tmp_path, eos_token_id=[10**9, "x", True])).ends == (1, END)


def test_ids_of_nothing_may_not_appear() -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "soup": 1, "[SEP]": 5}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", sep_token="[SEP]")
    vocabulary = HubVocabulary(fast, (5,))
    assert vocabulary.size == 6
    assert vocabulary.forbidden == (0, 2, 3, 4)
    assert vocabulary.encode("soup with soup").ids == (1, 0, 1)
    assert vocabulary.encode("soup with soup").unknown == ("with",)


def test_a_classifiers_separator_ends_an_answer(tmp_path: Path) -> None:
    tokenizer = bpe_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(BadModelError, match="ends an answer"):
        HubVocabulary.load(tmp_path)
    tokenizer.sep_token = SPECIAL[START]
    tokenizer.save_pretrained(tmp_path)
    assert HubVocabulary.load(tmp_path).ends == (START,)


def test_a_missing_mask_is_told_when_it_is_needed() -> None:
    tokenizer = bpe_tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(BadModelError, match="mask token"):
        _ = HubVocabulary(tokenizer, (END,)).mask


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    saved(tmp_path, eos_token_id=END)
    (tmp_path / name).write_text('{"a": [')
    with pytest.raises(BadModelError, match="damaged"):
        HubVocabulary.load(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(BadModelError, match="found none"):
        HubVocabulary.load(tmp_path)


@pytest.mark.parametrize("piece", SPECIAL)
def test_special_tokens_in_a_text_are_text(bpe: HubVocabulary, piece: str) -> None:
    for text in (piece, f"add {piece}salt", f"{piece}{piece}"):
        ids = bpe.encode(text).ids
        assert min(ids) > END
        assert bpe.decode(ids) == text


def test_texts_are_read_and_shown_as_they_are(bpe: HubVocabulary) -> None:
    for text in ("", " ", "how do i make soup?\n", BYTES, "a\n\n  b"):
        encoded = bpe.encode(text)
        assert bpe.decode(encoded.ids) == text
        assert encoded.unknown == ()
        assert bpe.decode((*encoded.ids, END, 20, 21)) == text
    assert bpe.pieces(bpe.encode("do i").ids) == ["do", "Ġi"]
    assert bpe.pieces((-1,)) == [BLANK]


def test_ids_of_one_character_all_stand_at_it(bpe: HubVocabulary) -> None:
    ids = bpe.encode(BYTES).ids
    shown = bpe.printed(ids)
    assert len(shown.spans) == len(shown.words) == len(ids) > len(BYTES)
    seen = "".join(shown.text[a:b] for a, b in dict.fromkeys(shown.spans))
    assert seen == BYTES.replace(" ", "")
    for one, other in itertools.pairwise(shown.spans):
        assert one == other or one[1] <= other[0]
    for character, at_least in (("日", 2), ("🍲", 3)):
        place = BYTES.index(character)
        assert shown.spans.count((place, place + 1)) >= at_least
    words = [shown.words[shown.spans.index((BYTES.index(c), BYTES.index(c) + 1))] for c in "°日!"]
    assert words == sorted(set(words)), "marks and words are not one word"


def test_a_whole_character_and_half_of_the_next_do_not_overlap() -> None:
    tokenizer = Tokenizer(models.WordLevel({".æĹ": 0, "¥": 1}, unk_token="¥"))
    tokenizer.decoder = decoders.ByteLevel()
    shown = HubVocabulary(PreTrainedTokenizerFast(tokenizer_object=tokenizer), (3,)).printed((0, 1))
    assert (shown.text, shown.spans, shown.words) == (".日", ((0, 1), (1, 2)), (0, 1))


def test_half_a_character_is_never_shown(bpe: HubVocabulary) -> None:
    ids = bpe.encode(BYTES).ids
    for end in range(len(ids) + 1):
        shown = bpe.printed(ids[:end])
        assert BYTES.startswith(shown.text)
        assert len(shown.spans) == end
        assert all(a <= b <= len(shown.text) for a, b in shown.spans)


def test_bytes_that_are_no_text_do_not_stop_what_follows(bpe: HubVocabulary) -> None:
    half = bpe.encode("🍲").ids[:-1]
    assert bpe.decode((*half, *bpe.encode(" soup").ids)).endswith(" soup")
    assert bpe.decode((*bpe.encode("soup").ids, *half, *half)) == "soup"


@pytest.mark.parametrize("vocabulary", [bpe_vocabulary(), tiny_vocabulary()])
def test_what_is_not_known_is_a_blank(vocabulary: HubVocabulary) -> None:
    add, salt = vocabulary.encode("add").ids, vocabulary.encode(" salt").ids
    shown = vocabulary.printed((*add, -1, -1, *salt))
    assert shown.text.lower() == f"add {BLANK} {BLANK} salt"
    blanks = [shown.text[a:b] for a, b in shown.spans[len(add) : len(add) + 2]]
    assert blanks == [BLANK, BLANK]
    assert len(set(shown.words[len(add) - 1 : len(add) + 3])) == 4


def test_spaces_that_a_decoder_leaves_out_at_the_beginning_are_there_later() -> None:
    tokenizer = Tokenizer(models.WordLevel({"▁soup": 0, "▁hot": 1, "s": 2}, unk_token="s"))
    tokenizer.decoder = decoders.Metaspace()
    vocabulary = HubVocabulary(PreTrainedTokenizerFast(tokenizer_object=tokenizer), (3,))
    shown = vocabulary.printed((0, 2, 1))
    assert shown.text == "soups hot"
    assert shown.spans == ((0, 4), (4, 5), (6, 9))
    assert shown.words == (0, 0, 1)
