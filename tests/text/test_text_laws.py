"""The laws of a `Vocabulary` and of a `Template`: what sessions count on, of every one."""

import itertools

import pytest
from transformers import BertTokenizer

from common.text.hub import HubVocabulary
from common.text.templates import ChatTemplate, Message, PlainText, Speaker, Template, TemplateV1
from common.text.vocabulary import Vocabulary
from tests.tiny import tiny_vocabulary
from tests.tiny_masked import bpe_vocabulary

TEXT = "how do i make soup? stir the soup, add salt. heat until hot."
CONTROL = "add [SEP] salt <|end|>, then [MASK] bread <|mask|>."


def _bert() -> HubVocabulary:
    pieces = tiny_vocabulary().pieces(range(tiny_vocabulary().size))
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    return HubVocabulary(tokenizer, (tokenizer.sep_token_id,))


VOCABULARIES = {"word pieces": tiny_vocabulary(), "BERT": _bert(), "byte-level": bpe_vocabulary()}
TEMPLATES = {
    "template v1": TemplateV1(tiny_vocabulary()),
    "plain text": PlainText(_bert()),
    "chat template": ChatTemplate(bpe_vocabulary()),
}


@pytest.fixture(params=VOCABULARIES)
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return VOCABULARIES[request.param]


@pytest.fixture(params=TEMPLATES)
def template(request: pytest.FixtureRequest) -> Template:
    return TEMPLATES[request.param]


def test_some_ids_end_an_answer_and_others_may_not_appear(vocabulary: Vocabulary) -> None:
    ends, forbidden = vocabulary.ends, vocabulary.forbidden
    assert ends
    assert not set(ends) & set(forbidden)
    assert vocabulary.mask in forbidden
    assert list(forbidden) == sorted(set(forbidden))
    assert all(0 <= i < vocabulary.size for i in (*ends, *forbidden))


def test_a_text_is_read_without_control_tokens(vocabulary: Vocabulary) -> None:
    for text in (TEXT, CONTROL):
        encoded = vocabulary.encode(text)
        assert all(0 <= i < vocabulary.size for i in encoded.ids)
        written = [i for i in encoded.ids if i not in vocabulary.forbidden]
        assert len(written) + len(encoded.unknown) == len(encoded.ids)
        assert not set(vocabulary.ends) & set(encoded.ids)
    assert vocabulary.encode("").ids == ()


def test_what_is_read_is_what_is_shown(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode(TEXT).ids
    shown = vocabulary.decode(ids)
    assert shown.lower().split() == TEXT.split()
    assert vocabulary.encode(shown).ids == ids
    assert vocabulary.decode((*ids, vocabulary.ends[0], *ids)) == shown


def test_each_id_has_a_piece_and_a_place(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode(TEXT).ids
    shown = vocabulary.printed((*ids, vocabulary.ends[0]))
    assert shown.text == vocabulary.decode(ids)
    assert len(shown.spans) == len(shown.words) == len(vocabulary.pieces(ids)) == len(ids)
    for (_, end), (begin, _) in itertools.pairwise(shown.spans):
        assert end <= begin
        assert not shown.text[end:begin].strip()
    assert shown.words[0] == 0
    assert all(0 <= b - a <= 1 for a, b in itertools.pairwise(shown.words))
    assert shown.words[-1] + 1 == len(TEXT.split()) + sum(TEXT.count(mark) for mark in "?,.")


def test_a_vocabulary_is_known_by_its_summary(vocabulary: Vocabulary) -> None:
    for other in VOCABULARIES.values():
        fits = vocabulary.summary.difference(other.summary) is None
        assert fits == (vocabulary.pieces(range(20)) == other.pieces(range(20)))
    assert set(vocabulary.summary.end_ids) == set(vocabulary.ends)


def said(*texts: str) -> tuple[Message, ...]:
    """A conversation that begins and ends with its user."""
    roles = itertools.cycle((Speaker.USER, Speaker.ASSISTANT))
    return tuple(Message(role, text) for role, text in zip(roles, texts, strict=False))


def test_every_message_and_the_context_are_there_in_order(template: Template) -> None:
    def places(*texts: str, context: str = "") -> list[int]:
        ids = template.ids(said(*texts), context)
        words = [template.vocabulary.encode(f" {word}").ids[-1] for word in ("salt", "heat", "hot")]
        return [ids.index(word) for word in words]

    assert places("add salt", "then heat", "is it hot?") == sorted(
        places("add salt", "then heat", "is it hot?")
    )
    assert places("then heat", "", "is it hot?", context="add salt") == sorted(
        places("then heat", "", "is it hot?", context="add salt")
    )


def test_what_people_write_adds_no_control_token(template: Template) -> None:
    vocabulary = template.vocabulary
    control = {*vocabulary.forbidden, *vocabulary.ends}

    def controls(text: str, context: str) -> list[int]:
        unknown = len(vocabulary.encode(text).unknown) + len(vocabulary.encode(context).unknown)
        found = [i for i in template.ids(said(text), context) if i in control]
        return found if unknown == 0 else [i for i in found if vocabulary.pieces([i]) != ["[UNK]"]]

    assert controls(CONTROL, CONTROL) == controls("soup", "salt")


def test_nothing_stands_behind_an_answer_without_a_suffix(template: Template) -> None:
    assert template.after("") == ()
    ids = template.vocabulary.encode("serve hot.").ids
    assert template.after("serve hot.")[: len(ids)] == ids
