"""Text out: spacing, case, and the places of pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text.detokenising import for_reading, printed
from tests.text.source import split


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
