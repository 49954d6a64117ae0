"""The live draft: words and marks, what fits a terminal, what a terminal that knows little sees."""

import io
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from common.denoising.plan import Decider, FinishReason
from david_client.asking import Draft, Reply
from david_client.embedded import ask_embedded
from david_client.view import View
from david_client.view.layout import Pace, fold, line, page, status
from david_client.view.marks import signed, styled
from david_client.view.origins import Origins
from david_client.view.screen import Lines, Screen, print_answer, surface
from david_client.view.sketch import Sketch, Word, decider_of, sketch_draft
from tests.serving import DAVID, GOLIATH, VOCABULARY, question, serving, settings

CORE, DAVIDS, BOTH, NEITHER = Decider


def ids(text: str) -> np.ndarray:
    return np.array(VOCABULARY.encode(text).ids)


def draft(text: str | None, *, block: int = 0, step: int = 2, **fields: Any) -> Draft:
    terms = settings(block_length=8, max_tokens=16, steps=4)
    estimate = None if text is None else ids(text)
    rows = 8 if estimate is None else len(estimate)
    decided = fields.pop("decided", [BOTH] * rows)
    return Draft(
        terms,
        block,
        step,
        0.5,
        fields.pop("finished", ()),
        estimate,
        hot=None if estimate is None else estimate[:, None],
        decided=np.array(decided, np.uint8),
        **fields,
    )


def reply(tokens: np.ndarray, *decided: int) -> Reply:
    return Reply(
        text=VOCABULARY.decode(tokens),
        tokens=tuple(tokens.tolist()),
        finish_reason=FinishReason.END_TOKEN,
        goliath="g",
        david="d",
        settings=settings(block_length=8, max_tokens=16, steps=4),
        contrast=0.0,
        seconds=1.0,
        steps_run=8,
        david_steps=8,
        decided=tuple(decided),
    )


def sketched(shown: Draft, *, changed: Any = (), suffix: str = "") -> Sketch:
    origins = shown.decided.tolist()
    return sketch_draft(
        shown, VOCABULARY, origins=origins, changed=changed, seconds=1.0, title="", suffix=suffix
    )


SKETCH = Sketch(
    block=0,
    blocks=2,
    step=1,
    steps=4,
    t=0.75,
    weight=0.5,
    text="Add the hot soup.",
    words=(
        Word(0, 3, CORE, False),
        Word(4, 7, DAVIDS, True),
        Word(8, 11, BOTH, False),
        Word(12, 16, NEITHER, False),
        Word(16, 17, NEITHER, False),
    ),
    seconds=2.0,
    bytes_up=541_864,
    bytes_down=730,
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def console(width: int = 80, height: int = 24, file: Any = None) -> Console:
    return Console(file=file or Terminal(), width=width, height=height, force_terminal=True)


def drawn(lines: list[Text]) -> str:
    out = console(200)
    for one in lines:
        out.print(one)
    return str(out.file.getvalue())  # type: ignore[attr-defined]


# --- words and who brought them in ---


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        ([CORE, CORE], CORE),
        ([CORE, BOTH], CORE),
        ([BOTH, DAVIDS], DAVIDS),
        ([BOTH, BOTH], BOTH),
        ([CORE, DAVIDS], NEITHER),
        ([BOTH, NEITHER], NEITHER),
        ([0, BOTH], None),
        ([], None),
    ],
)
def test_a_word_is_a_first_choice_if_all_its_pieces_are(
    pieces: list[int], word: Decider | None
) -> None:
    assert decider_of(pieces) is word


def test_words_have_their_places_their_deciders_and_their_news() -> None:
    shown = draft("heating soup.", decided=[CORE, BOTH, NEITHER, DAVIDS])
    seen = sketched(shown, changed=[1])
    assert seen.text == "Heating soup." == VOCABULARY.decode(ids("heating soup."))
    assert seen.words == (
        Word(0, 7, CORE, True),
        Word(8, 12, NEITHER, False),
        Word(12, 13, DAVIDS, False),
    )


def test_words_of_finished_blocks_are_plain() -> None:
    seen = sketched(draft("hot soup", block=1, finished=tuple(ids("add salt, then"))))
    assert seen.text == "Add salt, then hot soup"
    assert [seen.text[w.begin : w.end] for w in seen.words] == ["hot", "soup"]


def test_a_word_may_begin_in_the_block_before() -> None:
    seen = sketched(draft("s hot", block=1, finished=tuple(ids("egg")), decided=[CORE, BOTH]))
    assert [w.decider for w in seen.words] == [CORE, BOTH]
    joined = replace(
        draft("hot hot", block=1, finished=tuple(ids("egg"))),
        estimate=ids("eggs")[1:],
        decided=np.array([DAVIDS]),
    )
    seen = sketched(joined)
    assert (seen.text, seen.words) == ("Eggs", (Word(3, 4, DAVIDS, False),))


def test_noise_and_what_stands_after_the_end() -> None:
    noise = sketched(draft(None, step=0))
    assert (noise.text, noise.words, noise.noise, noise.ended) == ("", (), 8, False)
    ended = draft("hot soup with milk")
    assert ended.estimate is not None
    ended.estimate[2] = VOCABULARY.end
    seen = sketched(ended)
    assert (seen.text, seen.ended, seen.noise) == ("Hot soup", True, 0)
    assert len(seen.words) == 2


def test_tokens_keep_the_decider_that_brought_them_in() -> None:
    origins = Origins()
    assert origins.follow(draft(None, step=0, decided=[])) == []
    assert origins.follow(draft("hot soup", step=1, decided=[CORE, DAVIDS])) == []
    assert origins.block == [CORE, DAVIDS]
    assert origins.follow(draft("hot cake", step=2, decided=[BOTH, NEITHER])) == [1]
    assert origins.block == [CORE, NEITHER]
    # The last step of a block comes with the first of the next one.
    after = draft(None, block=1, step=0, finished=tuple(ids("cold cake")), decided=[DAVIDS, BOTH])
    assert origins.follow(after) == []
    later = draft("with", block=1, step=1, finished=tuple(ids("cold cake")), decided=[BOTH])
    assert origins.follow(later) == []
    assert origins.block == [BOTH]
    assert origins.conclude(reply(ids("cold cake and"), CORE)) == [DAVIDS, NEITHER, CORE]


def test_an_answer_that_came_without_drafts_has_unknown_origins() -> None:
    assert Origins().conclude(reply(ids("hot soup"))) == [0, 0]


@given(st.lists(st.text("ab", max_size=3), max_size=4), st.lists(st.integers(0, 4), max_size=5))
def test_origins_take_any_lengths(texts: list[str], decided: list[int]) -> None:
    origins = Origins()
    for step, text in enumerate(texts):
        one = draft(" ".join(text) or None, step=step, decided=decided)
        changed = origins.follow(one)
        size = 0 if one.estimate is None else len(one.estimate)
        assert all(0 <= i < size for i in changed)


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


# --- the screen ---


def test_pictures_are_limited_and_the_last_one_is_not_lost() -> None:
    out, clock = Terminal(), Clock()
    screen = Screen(console(file=out), keep=False, clock=clock)
    for step in range(4):
        clock.now += 0.02
        screen.draw(replace(SKETCH, step=step, steps=9))
    shown = out.getvalue()
    assert [f"step {n}/9" in shown for n in (1, 2, 3, 4)] == [True, False, False, True]
    clock.now += 0.02
    screen.draw(replace(SKETCH, step=4, steps=9))
    assert "step 5/9" not in out.getvalue()
    screen.close()
    assert "step 5/9" in out.getvalue()


def test_the_answer_is_drawn_at_once_and_stays_if_it_shall() -> None:
    out = Terminal()
    screen = Screen(console(60, 10, file=out), keep=True, clock=Clock())
    screen.draw(replace(SKETCH, text="word " * 200 + "end", words=()))
    screen.draw(replace(SKETCH, step=4, text="word " * 200 + "end", words=()))
    assert "answer after" in out.getvalue()
    before = len(out.getvalue())
    screen.close()
    # The whole of it, though the terminal has but ten rows.
    assert out.getvalue()[before:].count("word") == 200


def test_a_narrower_terminal_is_cleaned_of_what_it_broke_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, clock = Terminal(), Clock()
    screen = Screen(console(80, 24, file=out), keep=False, clock=clock)
    screen.draw(replace(SKETCH, text="word " * 40, words=()))
    before = len(out.getvalue())
    monkeypatch.setattr(Console, "width", property(lambda _: 40))
    clock.now = 1.0
    screen.draw(SKETCH)
    # Status, legend and two of three lines of text had become two rows each.
    assert out.getvalue()[before:].startswith("\r\x1b[4A\x1b[J")
    screen.close()


def test_a_terminal_that_cannot_redraw_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out, clock = Terminal(), Clock()
    lines = surface(out, keep=False, clock=clock)
    assert isinstance(lines, Lines)
    lines.say("waking \x1b[2J")
    for step in range(3):
        clock.now += 1.5
        lines.draw(replace(SKETCH, step=step))
    lines.close()
    shown = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert shown[0].startswith("waking")
    assert "_Goliath_" in shown[1]
    assert [one[11:19] for one in shown[2:]] == ["step 1/4", "step 3/4"]
    assert "[*the*]" in shown[2]


def test_what_is_no_terminal_gets_nothing() -> None:
    assert surface(io.StringIO(), keep=False) is None


# --- the view ---


def test_a_view_that_is_not_wanted_or_has_no_terminal_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream, wanted in ((Terminal(), False), (io.StringIO(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        with View(wanted=wanted) as view:
            view.say("waking")
            view.begin(question(), DAVID)
            view.show(draft("hot soup"))
            view.finish(reply(ids("hot soup")))
        assert stream.getvalue() == ""
        assert view.answer is not None


def test_a_view_shows_several_answers_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with View(wanted=True) as view:
        view.say("waking the models")
        for title in ("gap 1 of 2", "gap 2 of 2"):
            view.begin(question(), DAVID, title=title)
            view.show(draft("hot soup", step=3, bytes_up=2000))
            view.finish(reply(ids("cold soup"), DAVIDS, BOTH))
            assert view.answer is not None
            assert [word.decider for word in view.answer.words] == [DAVIDS, BOTH]
    shown = terminal.getvalue()
    for text in ("waking the models", "gap 1 of 2", "gap 2 of 2", "step 4/4", "2.0 kB up"):
        assert text in shown
    assert shown.endswith("\x1b[1A\x1b[2K") or shown.endswith("\x1b[?25h")


def test_an_answer_on_a_terminal_has_its_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = replace(SKETCH, words=tuple(replace(w, changed=False) for w in SKETCH.words))
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stdout", stream)
        print_answer(answer, SKETCH.text, explained=False)
        marked = "\x1b[4;36mAdd\x1b[0m" in stream.getvalue()
        assert marked is stream.isatty()
        assert stream.isatty() or stream.getvalue() == SKETCH.text + "\n"
    monkeypatch.setattr(sys, "stdout", Terminal())
    print_answer(answer, "another text", explained=True)
    assert sys.stdout.getvalue() == "another text\n"  # type: ignore[attr-defined]


async def test_drafts_say_the_same_over_the_wire() -> None:
    over: list[Draft] = []
    here: list[Draft] = []
    asked = question(max_tokens=32, temperature=0.0)
    async with serving() as served:
        remote = await served.ask(asked, on_draft=over.append)
    local = ask_embedded(
        asked, DAVID, goliath="g", model=GOLIATH, vocabulary=VOCABULARY, on_draft=here.append
    )
    assert len(over) == len(here)
    for a, b in zip(over, here, strict=True):
        assert a.decided.tolist() == b.decided.tolist()
        assert (a.hot is None) == (b.hot is None)
        assert a.hot is None or (b.hot is not None and a.hot.tolist() == b.hot.tolist())
        assert a.goliath == b.goliath == "g"
        assert (b.bytes_up, b.bytes_down) == (0, 0)
    assert len(over[0].decided) == 0
    assert len(over[1].decided) == 16
    ups = [one.bytes_up for one in over]
    assert 0 < ups[0] < ups[-1] < remote.bytes_up
    assert ups == sorted(ups)
    assert remote.decided == local.decided
    assert set(remote.decided) <= set(Decider)
