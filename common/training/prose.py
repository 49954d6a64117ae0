"""Text cleaning shared by the readers: punctuation, sentences and pieces of a useful length."""

import html
import re
from collections.abc import Iterable, Iterator

# Every character of the left string becomes the right one; "*" and "_" are leftover markup.
_PLAIN = {
    "\u2018\u2019\u2032\u02bc": "'",  # single quotes, prime, letter apostrophe
    "\u201c\u201d\u2033": '"',  # double quotes, double prime
    "\u2010\u2011\u2012\u2013\u2212": "-",  # hyphens, en dash, minus
    "\u2014\u2015": " - ",  # em dash, bar
    "\u2026": "...",
    "\u02da\u00ba": "\u00b0",  # look-alikes of the degree sign
    "\u00d7": "x",  # multiplication sign
    "\u00a0\u2002\u2003\u2009\u202f\u2022_": " ",  # wide and narrow spaces, bullet
    "\u200b\u200e\u200f\u2060\ufeff\u00ad*": "",  # invisible characters
}
_TABLE = str.maketrans({char: plain for chars, plain in _PLAIN.items() for char in chars})

_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')]))\s+(?=[\"'(]?[A-Z0-9])")


def ascii_punctuation(text: str) -> str:
    """Curly quotes, dashes and odd spaces as ASCII; fractions, degrees and accents stay."""
    return text.translate(_TABLE)


def flat(text: str) -> str:
    """One line with ASCII punctuation, without empty brackets or spaces before punctuation."""
    text = ascii_punctuation(html.unescape(text))
    text = re.sub(r"<ref[^<>]*/>|<ref.*?</ref>|</?[a-zA-Z][^<>]*>|\[\d+\]", " ", text)
    text = re.sub(r"\s*-{2,}\s*", " - ", text)
    text = re.sub(r"[(\[][\s/,;:.-]*[)\]]", " ", text)
    text = re.sub(r"\(\s*[,;:]\s*", "(", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"(?<=\S) +([,;:.!?)])(?!\w)", r"\1", text)
    text = re.sub(r"(?<!\.)\.\.(?!\.)", ".", re.sub(r"([,;])[,;]+", r"\1", text))
    text = re.sub(r'""+', '"', re.sub(r",\.(?!\.)", ".", text))
    return re.sub(r"\( +", "(", text).lstrip(",;:.) ")


def sentence(text: str) -> str:
    """Begin with a capital, end with a full stop; "" stays ""."""
    text = text.strip().rstrip(",;:-").rstrip()
    if not text:
        return ""
    closed = re.search(r"[.!?][\"')]*$", text)
    return text[0].upper() + text[1:] + ("" if closed else ".")


def sentences(text: str) -> list[str]:
    """Split where an end mark, a space and a capital meet; abbreviations may split too."""
    return [part for part in _SENTENCE_END.split(text) if part]


def up_to(text: str, limit: int) -> str:
    """As many whole sentences from the start as fit in `limit` characters; "" when none does."""
    if len(text) <= limit:
        return text
    head = text[: limit + 1]
    ends = [match.start() for match in _SENTENCE_END.finditer(head)]
    return text[: ends[-1]].strip() if ends else ""


def paragraphs(text: str) -> list[str]:
    """Blank-line separated paragraphs, each on one line."""
    return [clean for part in re.split(r"\n\s*\n", text) if (clean := flat(part))]


def chunks(parts: Iterable[str], *, low: int = 100, high: int = 400) -> Iterator[str]:
    """Join paragraphs into texts of about `low` to `high` words, cut only between sentences.

    A last piece under `low` words joins the text before it, or is dropped when there is none.
    """
    units: list[str] = []
    for part in parts:
        units += [part] if len(part.split()) <= high // 2 else sentences(part)
    texts: list[list[str]] = [[]]
    size = 0
    for unit in units:
        if size >= low:
            texts.append([])
            size = 0
        texts[-1].append(unit)
        size += len(unit.split())
    if size < low:
        rest = texts.pop()
        if texts:
            texts[-1] += rest
    for group in texts:
        text = " ".join(group)
        if low <= len(text.split()) <= high:
            yield text


def detokenise(tokens: Iterable[str]) -> str:
    """Join tokens of a tagged corpus into prose: quotes, brackets and punctuation close up."""
    text = " ".join(tokens)
    text = re.sub(r"([;?!:]) \1", r"\1", text)
    text = re.sub(r"(?:^|(?<= ))' (.+?) '(?= |$)", r"'\1'", text)
    text = re.sub(r"`` ?", '"', text)
    text = re.sub(r" ?''", '"', text)
    text = re.sub(r" ([,;:.?!)\]])", r"\1", text)
    # The corpus puts every mark after the closing quote; American print has these inside.
    text = re.sub(r'(?<=\w)"([.,?!]+)', r'\1"', text)
    return flat(re.sub(r"([(\[]) ", r"\1", text))
