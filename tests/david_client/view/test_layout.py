"""Marks, and pages that fit their terminal."""

from dataclasses import replace

import pytest
from rich.text import Text

from david_client.view.layout import Pace, fold, line, page, status
from david_client.view.marks import signed, styled
from david_client.view.sketch import Word
from tests.david_client.view.drafts import CORE, SKETCH, Terminal, console, drawn

# --- marks ---


def test_marks_are_colours_and_forms() -> None:
    out = console()
    out.print(styled(SKETCH))
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[4;36mAdd\x1b[0m" in shown
    assert "\x1b[1;7;35mthe\x1b[0m" in shown
    assert " hot " in shown
    assert "\x1b[3;33msoup.\x1b[0m" in shown


def test_without_colour_forms_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = console()
    out.print(styled(SKETCH))
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[4mAdd\x1b[0m \x1b[1;7mthe\x1b[0m hot \x1b[3msoup.\x1b[0m" in shown


def test_signs_say_the_same_without_forms() -> None:
    assert signed(SKETCH) == "_Add_ [*the*] hot /soup/."
    assert line(SKETCH).startswith("block 1/2  step 2/4  t 0.75  weight 0.5")
    assert signed(replace(SKETCH, words=())) == SKETCH.text


def test_texts_are_no_markup_and_hold_no_control_characters() -> None:
    hostile = replace(SKETCH, text="[red]a\x1b]0;x\x07\u202e[/red]", words=(), title="\x1b[2J")
    shown = drawn(page(hostile, console(), rate=None))
    assert "[red]a" in shown
    assert "[/red]" in shown
    assert not {"\x07", "\u202e"} & set(shown)
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    assert "\x1b" not in signed(hostile) + line(hostile)


# --- the page ---


def test_the_status_says_how_far_it_is() -> None:
    assert status(SKETCH, 8.25) == [
        *("block 1/2", "step 2/4", "t 0.75", "weight 0.5"),
        *("541.9 kB up", "730 B down", "8.2 steps/s"),
    ]
    alone = replace(SKETCH, blocks=1, bytes_up=0, bytes_down=0, title="gap 2 of 3")
    assert status(alone, None) == ["gap 2 of 3", "step 2/4", "t 0.75", "weight 0.5"]
    finished = replace(SKETCH, step=4, t=0.0)
    assert status(finished, None)[1] == "answer after 2.0 s"


@pytest.mark.parametrize("width", [200, 80, 40, 12])
@pytest.mark.parametrize("height", [50, 24, 7, 3, 1])
def test_a_page_fits_its_terminal(width: int, height: int) -> None:
    words = " ".join(f"word{i}" for i in range(5000))
    for text in ("", "hot soup", words, "\u6c34" * 300, "x" * 500):
        whole = text + " the end" if text else ""
        seen = replace(SKETCH, text=whole, words=(), suffix="and then", noise=5)
        lines = page(seen, console(width, height), rate=12.0)
        assert all(one.cell_len <= width for one in lines)
        shown = "\n".join(one.plain for one in lines)
        assert len(lines) <= max(height - 1, 1)
        assert (height < 4) is ("step 2/4" not in shown)
        assert (height < 8) is ("brought" not in shown)
        assert lines[-1].plain.endswith("then")


def test_a_long_answer_shows_its_end_and_says_so() -> None:
    seen = replace(SKETCH, text="word " * 3000 + "end", words=(Word(15000, 15003, CORE, False),))
    lines = page(seen, console(80, 24), rate=None)
    assert len(lines) == 23
    assert lines[2].plain == "..."
    assert lines[-1].plain.endswith("word end")
    assert "\x1b[4;36mend" in drawn(lines)
    whole = page(seen, console(80, 24), rate=None, whole=True)
    assert len(whole) > 180


def test_a_terminal_that_cannot_write_dots_gets_full_stops() -> None:
    class Old(Terminal):
        encoding = "ascii"

    noise = replace(SKETCH, text="", words=(), noise=6)
    assert page(noise, console(file=Old()), rate=None)[-1].plain == "......"
    assert page(noise, console(), rate=None)[-1].plain == "\u00b7" * 6


def test_fields_are_folded_between_them() -> None:
    folded = fold([Text("one"), Text("two"), Text("three")], 8)
    assert [one.plain for one in folded] == ["one  two", "three"]
    assert [one.plain for one in fold([Text("much too long")], 6)] == ["much t"]


def test_the_pace_is_that_of_the_last_steps() -> None:
    pace = Pace()
    rates = [pace.at(seconds) for seconds in (0.0, 0.5, 1.0, 1.0)]
    assert rates == [None, 2.0, 2.0, 3.0]
    for second in range(2, 20):
        rate = pace.at(float(second))
    assert rate == 1.0
    assert pace.at(0.0) is None  # another answer
