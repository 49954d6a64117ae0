"""The World Factbook's country profiles as questions and answers."""

import re
from collections.abc import Iterator
from typing import Any

from common.training.prose import flat, sentence, up_to

_OCEANS = {
    "oo": "the Southern Ocean",
    "xo": "the Indian Ocean",
    "xq": "the Arctic Ocean",
    "zh": "the Atlantic Ocean",
    "zn": "the Pacific Ocean",
    "xx": "the world",
}
_WITH_THE = re.compile(
    r"(?:United |Netherlands|Philippines|Maldives|Seychelles|Comoros|Solomon|Marshall|Central Afr|"
    r"Czech Rep|Dominican Rep|Holy See|Isle of|West Bank|Gaza Strip|European Union|.* Islands$)"
)
_FIELDS = {
    "Background": "Tell me about the history of {x}.",
    "Location": "Where is {x}?",
    "Climate": "What is the climate of {x}?",
    "Terrain": "Describe the terrain of {x}.",
    "Natural resources": "What are the natural resources of {x}?",
    "Natural hazards": "What natural hazards are there in {x}?",
    "Environment - current issues": "What are the environmental problems of {x}?",
    "Geography - note": "What is notable about the geography of {x}?",
    "Area - comparative": "How large is {x}?",
    "Land boundaries > border countries": "Which countries border {x}?",
    "Ethnic groups": "Which ethnic groups live in {x}?",
    "Languages": "Which languages are spoken in {x}?",
    "Religions": "What are the religions of {x}?",
    "Demographic profile": "Describe the population of {x}.",
    "Administrative divisions": "What are the administrative divisions of {x}?",
    "National holiday": "What is the national holiday of {x}?",
    "Independence": "When did {x} become independent?",
    "Constitution": "What is the history of the constitution of {x}?",
    "Legal system": "Describe the legal system of {x}.",
    "Executive branch > elections/appointments": "How is the government of {x} chosen?",
    "Legislative branch > description": "Describe the legislature of {x}.",
    "Judicial branch > highest court(s)": "What is the highest court of {x}?",
    "Judicial branch > judge selection and term of office": "How are judges chosen in {x}?",
    "Flag description": "Describe the flag of {x}.",
    "National symbol(s)": "What are the national symbols of {x}?",
    "National anthem > note": "Tell me about the national anthem of {x}.",
    "Economy - overview": "Describe the economy of {x}.",
    "Agriculture - products": "What are the farm products of {x}?",
    "Industries": "What are the main industries of {x}?",
    "Exports - commodities": "What does {x} export?",
    "Imports - commodities": "What does {x} import?",
    "Telephone system > general assessment": "Describe the telephone system of {x}.",
    "Telephone system > domestic": "Describe the domestic telephone network of {x}.",
    "Broadcast media": "Describe the broadcast media of {x}.",
    "Waterways": "What are the waterways of {x}?",
    "Military branches": "What are the branches of the armed forces of {x}?",
    "Military service age and obligation": "What are the rules for military service in {x}?",
    "Disputes - international": "Which international disputes involve {x}?",
    "Trafficking in persons > current situation": "Describe human trafficking in {x}.",
    "Illicit drugs": "What role does {x} play in the drug trade?",
}


def country(code: str, profile: dict[str, Any]) -> str:
    """The name as it stands inside a sentence ("the Bahamas"); "" when the profile has none."""
    if code in _OCEANS:
        return _OCEANS[code]
    names = profile.get("Government", {}).get("Country name", {})
    for kind in ("conventional short form", "conventional long form"):
        name = re.sub(r"\s*[(;+].*", "", names.get(kind, {}).get("text", "")).strip()
        if name and name != "none":
            if name.lower().startswith("the "):
                return "the " + name[4:]
            if name.endswith(", The"):
                return "the " + name.removesuffix(", The")
            return f"the {name}" if _WITH_THE.match(name) else name
    return ""


def fact(value: str) -> str:
    """A profile's text as prose of whole sentences, at most 1200 characters."""
    text = re.sub(r"\bhttps?://\S+", " ", value)
    text = re.sub(r"[.](?:\s*\+\+)+\s*", ". ", text)
    text = re.sub(r"[;,]?(?:\s*\+\+)+\s*", "; ", text).strip("; ")
    return up_to(sentence(flat(text)), 1200)


def questions(name: str, profile: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(question, answer) for each of the fields above that has an answer of 40-1200 characters."""
    fields = {key: value for part in profile.values() for key, value in part.items()}
    for field, question in _FIELDS.items():
        value: Any = fields
        for key in (*field.split(" > "), "text"):
            value = value.get(key) if isinstance(value, dict) else None
        answer = fact(value) if isinstance(value, str) else ""
        # A replacement character is what is left of a letter that the profile lost.
        if 40 <= len(answer) <= 1200 and "\ufffd" not in answer:
            yield question.format(x=name), answer
