"""The seam between a conversation and the ids that a model continues."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from common.text.vocabulary import Vocabulary
from common.text.wordpiece import WordPieceVocabulary


class Speaker(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Speaker
    content: str


def asked(prompt: str) -> tuple[Message, ...]:
    """The conversation of a single question."""
    return (Message(Speaker.USER, prompt),)


class Template(Protocol):
    """How a model wants to be asked."""

    def ids(self, messages: Sequence[Message], context: str = "") -> tuple[int, ...]:
        """What stands before the answer to the last message; the context is read first."""

    def after(self, suffix: str) -> tuple[int, ...]:
        """What stands behind the answer; nothing for no suffix."""


@dataclass(frozen=True, slots=True)
class PlainText:
    """Messages one after another, for models that know no roles."""

    vocabulary: Vocabulary

    def ids(self, messages: Sequence[Message], context: str = "") -> tuple[int, ...]:
        """Context and messages with a blank line between them."""
        texts = [context, *(message.content for message in messages)]
        return self.vocabulary.encode("\n\n".join(text for text in texts if text) + "\n\n").ids

    def after(self, suffix: str) -> tuple[int, ...]:
        """The suffix alone."""
        return self.vocabulary.encode(suffix).ids


@dataclass(frozen=True, slots=True)
class TemplateV1:
    """The template of the models that this project trains: [CLS] ([CONTEXT] context [SEP])? prompt
    [SEP], and (suffix [SEP])? behind the block.
    """

    vocabulary: WordPieceVocabulary

    def ids(self, messages: Sequence[Message], context: str = "") -> tuple[int, ...]:
        """The messages as one prompt, behind the context."""
        prompt = "\n".join(message.content for message in messages)
        encode = self.vocabulary.encode
        return self.vocabulary.prompt_ids(encode(prompt).ids, encode(context).ids)

    def after(self, suffix: str) -> tuple[int, ...]:
        """The suffix and [SEP]."""
        return self.vocabulary.suffix_ids(self.vocabulary.encode(suffix).ids)
