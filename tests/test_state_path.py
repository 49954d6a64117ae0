"""The way of a state in one networked step: from the return of `Process.advance` on the server to
the write of the contribution on the client.

A function handles the state if it is called with it, or with something that was made of it on the
way (the step, its message, the state that the client rebuilds, what models are shown, the rows,
the contribution), or gets it from a call, and hands it on; one that only looks, as a check does,
is listed apart. What the wire's conversions, a model or the codec call inside counts as the one
function that is called from outside, and a comprehension or a property as the function that has it.

By this count 10 functions on the server and 10 on the client hand the state on; at commit 560acca
they were 8 and 16. With everything counted that the conversions, the model and the codec call
inside they are 11 and 20; at 560acca they were 9 and 22.
"""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.serving import question, serving

ROOT = Path(__file__).parents[1]
ROOMS = ("common", "goliath_server", "david_client")
INSIDE = ("common/wire/", "common/models/", "common/collaboration/codec.py")
"""Where calls of functions count as the first one."""
MESSAGES = {"CollaborateResponse", "CollaborateRequest"}
FORMS = MESSAGES | {
    *("SimplexState", "Advanced", "Predict", "Shown", "View", "Step"),
    *("Contribution", "ContributionChunk"),
}
"""Types that are the state, hold it, or are made of it."""
MOMENT = (0, 1)
"""Block and step of the state that is followed."""
MOST = 10


class Trace:
    """Follows one state through all threads; use as a context manager."""

    def __init__(
        self, root: Path = ROOT, *, maker: str = "advance", inside: Sequence[str] = INSIDE
    ) -> None:
        """Begin when the function of this name returns the state."""
        self.handle: dict[str, list[str]] = {"server": [], "client": []}
        self.look: dict[str, list[str]] = {"server": [], "client": []}
        self._root = root
        self._maker = maker
        self._inside = tuple(inside)
        self._state: Any = None
        self._rows: dict[int, Any] = {}
        self._writer: CodeType | None = None
        self._sent = False
        self._over = False
        self._seen: dict[str, dict[str, bool]] = {"server": {}, "client": {}}
        """By side and function: whether it made or returned a form of the state."""
        self._calls: set[tuple[str, str]] = set()
        """Who gave whom a form of the state."""

    def __enter__(self) -> "Trace":
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # None ends it
        for side, seen in self._seen.items():
            hands = {name for name, made in seen.items() if made}
            while more := {a for a, b in self._calls if b in hands and a in seen} - hands:
                hands |= more
            self.handle[side] = [name for name in seen if name in hands]
            self.look[side] = [name for name in seen if name not in hands]

    def _event(self, frame: FrameType, event: str, value: Any) -> None:
        if self._over or event not in {"call", "return"}:
            return
        if self._state is None:
            state = getattr(value, "state", value)
            named = event == "return" and frame.f_code.co_name == self._maker
            if named and self._ours(frame) and _moment(state) == MOMENT:
                self._state = state
                self._returned(frame, value)
        elif event == "call":
            if self._ours(frame) and (side := self._given(frame)):
                self._note(frame, side, called=True)
        else:
            self._returned(frame, value)

    def _returned(self, frame: FrameType, value: Any) -> None:
        if frame.f_code is self._writer:
            self._sent = True  # the call waits for the network, or ended
        back = frame.f_back
        if frame.f_code.co_name == "__init__" and frame.f_code.co_filename == "<string>":
            if side := self._side(frame.f_locals["self"]):
                self._note(back, side, made=True)
            return
        side = self._side(value)
        if side is None and self._ours(frame) and _are_rows(value):
            side = self._given(frame) if self._given(frame) == "client" else None
            if side:
                self._rows |= {id(one): one for one in (value, *value)}
        if side is None:
            return
        self._note(frame, side, made=True)
        message = type(value).__name__ in MESSAGES
        written = message and self._ours(frame) and not self._is_inside(back)
        self._note(back, side, made=written)
        if written and side == "server" and back is not None:
            self._writer = back.f_code
        elif written and type(value).__name__ == "CollaborateRequest":
            self._over = True

    def _given(self, frame: FrameType) -> str | None:
        """Whose form of the state a call was given, if any."""
        code = frame.f_code
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4)
        values = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
        held = vars(values[0]).values() if hasattr(values and values[0], "__dict__") else ()
        sides = (*map(self._side, values), *(self._side(one, depth=0) for one in held))
        return next(filter(None, sides), None)

    def _side(self, value: Any, depth: int = 2) -> str | None:
        """Whose form of the state a value is, or holds; None if it is none."""
        if id(value) in self._rows:
            return "client"
        if isinstance(value, (list, tuple)):
            sides = (self._side(one, depth - 1) for one in value) if depth else ()
            return next(filter(None, sides), None)
        if type(value).__name__ not in FORMS:
            return None
        if type(value).__name__ in MESSAGES:
            value = getattr(value, value.WhichOneof("frame"))
        holder = getattr(value, "view", value)
        state = getattr(holder, "state", value)
        if _moment(state) != MOMENT:
            return None
        if state is self._state or not self._sent:
            return "server"
        return "client"

    def _note(
        self, frame: FrameType | None, side: str, *, made: bool = False, called: bool = False
    ) -> None:
        if side == "server" and self._sent:
            return
        path = self._path(frame)
        if frame is None or not path or not self._ours(frame):
            return
        self._seen[side][path[0]] = made or self._seen[side].get(path[0], False)
        if called and len(path) > 1:
            self._calls.add((path[1], path[0]))

    def _path(self, frame: FrameType | None) -> list[str]:
        """The functions of the project on the stack, the innermost first."""
        names: list[str] = []
        while frame is not None:
            if self._ours(frame) and not _part_of_another(frame):
                file = Path(frame.f_code.co_filename).relative_to(self._root)
                if self._is_inside(frame):
                    names.clear()
                names.append(f"{file}: {frame.f_code.co_qualname}")
            frame = frame.f_back
        return names

    def _ours(self, frame: FrameType | None) -> bool:
        file = "" if frame is None else frame.f_code.co_filename
        return any(file.startswith(f"{self._root}/{room}/") for room in ROOMS)

    def _is_inside(self, frame: FrameType | None) -> bool:
        return frame is not None and frame.f_code.co_filename.startswith(
            tuple(f"{self._root}/{one}" for one in self._inside)
        )


def _moment(value: Any) -> tuple[Any, Any]:
    return getattr(value, "block", None), getattr(value, "step", None)


def _are_rows(value: Any) -> bool:
    """Whether a value is a table of logits, or a list of some."""
    several = value if isinstance(value, list) and value else (value,)
    return all(type(one).__name__ == "Tensor" and one.ndim > 1 for one in several)


def _part_of_another(frame: FrameType) -> bool:
    """Whether a frame is a comprehension or a property, which count as the function around."""
    name = frame.f_code.co_name
    own = getattr(type(frame.f_locals.get("self")), name, None)
    return name.endswith(("comp>", "genexpr>")) or isinstance(own, property)


async def test_a_state_passes_few_functions() -> None:
    with Trace() as trace:
        async with serving() as served:
            await served.ask(question())
    for names in trace.handle.values():
        assert 5 < len(names) <= MOST, trace.handle
