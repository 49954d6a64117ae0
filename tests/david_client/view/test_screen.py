"""The screen and the view, on terminals and elsewhere."""

import io
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from common.denoising.plan import Decider
from david_client.reply import Draft
from david_client.view import View
from david_client.view.screen import Lines, Screen, print_answer, surface
from tests.david_client.view.drafts import (
    BOTH,
    DAVIDS,
    SKETCH,
    Clock,
    Terminal,
    console,
    draft,
    ids,
    reply,
)
from tests.serving import embedded, question, serving

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
            view.begin(question().question, question().david)
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
            view.begin(question().question, question().david, title=title)
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
    local = embedded(asked, on_draft=here.append)
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
