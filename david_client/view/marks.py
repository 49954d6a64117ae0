"""How words are marked: by colour and by form, so that either is enough.

    Goliath's first choice      cyan, underlined    _word_
    David's                     magenta, bold       *word*
    both                        plain               word
    neither                     yellow, italic      /word/
    another word a step before  reversed            [word]

A mark says whose first choice a word was when it came into the draft (see `origins`). Agreement is
plain: what stands out is where the two differ. Signs are for terminals that know no form at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text

from common.denoising.plan import Decider
from common.program.console import clean_line
from david_client.view.sketch import Sketch, Word

CHANGED = "reverse"
STYLES = {
    Decider.CORE: "underline cyan",
    Decider.DAVID: "bold magenta",
    Decider.BOTH: "",
    Decider.NEITHER: "italic yellow",
}
SIGNS = {Decider.CORE: "_", Decider.DAVID: "*", Decider.BOTH: "", Decider.NEITHER: "/"}
NAMES = {
    Decider.CORE: "Goliath",
    Decider.DAVID: "David",
    Decider.BOTH: "both",
    Decider.NEITHER: "neither",
}
_LEGEND = "brought in by"
_MOVED = "just changed"


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring words with the same marks, and what stands between them."""

    begin: int
    end: int
    decider: Decider | None
    changed: bool

    @property
    def style(self) -> str:
        """A style of rich."""
        forms = (STYLES[self.decider] if self.decider else "", CHANGED if self.changed else "")
        return " ".join(filter(None, forms))


def runs(words: Iterable[Word]) -> list[Run]:
    """The marked stretches of a text, in order."""
    found: list[Run] = []
    for word in words:
        last = found[-1] if found else None
        if last is not None and (last.decider, last.changed) == (word.decider, word.changed):
            found[-1] = Run(last.begin, word.end, last.decider, last.changed)
        else:
            found.append(Run(word.begin, word.end, word.decider, word.changed))
    return found


def styled(sketch: Sketch) -> Text:
    """The answer so far with colours and forms; nothing in it is read as markup."""
    text = Text(clean_line(sketch.text))
    for run in runs(sketch.words):
        if run.style:
            text.stylize(run.style, run.begin, run.end)
    return text


def signed(sketch: Sketch) -> str:
    """The answer so far with signs, on one line; punctuation has none, since both would mix."""
    text, parts, end = clean_line(sketch.text), [], 0
    words = [w for w in sketch.words if any(map(str.isalnum, text[w.begin : w.end]))]
    for run in runs(words):
        sign = SIGNS[run.decider] if run.decider else ""
        shown = f"{sign}{text[run.begin : run.end]}{sign}"
        parts += [text[end : run.begin], f"[{shown}]" if run.changed else shown]
        end = run.end
    return "".join((*parts, text[end:]))


def legend() -> list[Text]:
    """What colours and forms mean: fields of a line."""
    names = [Text(name, style=STYLES[decider]) for decider, name in NAMES.items()]
    return [Text(_LEGEND, style="dim"), *names, Text(_MOVED, style=CHANGED)]


def signed_legend() -> str:
    """What signs mean."""
    names = [f"{SIGNS[decider]}{name}{SIGNS[decider]}" for decider, name in NAMES.items()]
    return "  ".join((_LEGEND, *names, f"[{_MOVED}]"))
