"""The seam between a conversation and the ids that a model continues."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Protocol

from common.errors import BadDataError, BadModelError
from common.text.hub import HubVocabulary
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


def holds(vocabulary: Vocabulary, ids: Sequence[int], messages: Sequence[Message]) -> bool:
    """Whether ids hold the text of each message, in their order, white space aside."""
    turns = groupby(ids, key=lambda i: i in vocabulary.ends)
    text = "".join(_bare(vocabulary.decode(turn)) for ends, turn in turns if not ends)
    at = 0
    for message in messages:
        said = _bare(vocabulary.decode(vocabulary.encode(message.content).ids))
        at = text.find(said, at) + len(said)
        if at < len(said):
            return False
    return True


def _bare(text: str) -> str:
    return "".join(text.split())


class Template(Protocol):
    """How a model wants to be asked."""

    def ids(self, messages: Sequence[Message], context: str = "") -> tuple[int, ...]:
        """What stands before the answer to the last message; the context is read first."""

    def after(self, suffix: str) -> tuple[int, ...]:
        """What stands behind the answer; nothing for no suffix."""

    def agrees(self, ids: Sequence[int], own: Sequence[int], messages: Sequence[Message]) -> bool:
        """Whether these ids can stand before the answer in another model's template, where its own
        are these.
        """


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

    def agrees(self, ids: Sequence[int], own: Sequence[int], messages: Sequence[Message]) -> bool:
        """Whether they hold the text of each message."""
        return holds(self.vocabulary, ids, messages)


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

    def agrees(self, ids: Sequence[int], own: Sequence[int], messages: Sequence[Message]) -> bool:
        """Whether they are its own: all models that this project trains share it."""
        return tuple(ids) == tuple(own)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The chat template of a tokenizer: what a conversation holds is text to it, never control."""

    vocabulary: HubVocabulary

    def ids(self, messages: Sequence[Message], context: str = "") -> tuple[int, ...]:
        """The conversation up to the beginning of the answer.

        The context and the system's messages are one system message; where the template has none
        they stand in front of the first other message.

        Raises:
            BadDataError: the template refuses the conversation.
            BadModelError: the template is broken.
        """
        system = [one.content for one in messages if one.role is Speaker.SYSTEM]
        turns = [one for one in messages if one.role is not Speaker.SYSTEM]
        first = "\n\n".join(text for text in (context, *system) if text)
        if first and self._has_system:
            turns.insert(0, Message(Speaker.SYSTEM, first))
        elif first:
            texts = (first, *(one.content for one in turns[:1]))
            turns[:1] = [Message(Speaker.USER, "\n\n".join(texts))]
        ids: list[int] = self._applied(turns, tokenize=True, sanitize_control_tokens=True)
        return tuple(ids)

    def after(self, suffix: str) -> tuple[int, ...]:
        """The suffix and the end of the answer."""
        return (*self.vocabulary.encode(suffix).ids, self.vocabulary.ends[0]) if suffix else ()

    def agrees(self, ids: Sequence[int], own: Sequence[int], messages: Sequence[Message]) -> bool:
        """Whether they hold the text of each message."""
        return holds(self.vocabulary, ids, messages)

    @property
    def _has_system(self) -> bool:
        """Whether a system message is allowed, and read."""
        probe = (Message(Speaker.SYSTEM, "a system message"), *asked("a question"))
        try:
            return probe[0].content in self._applied(probe, tokenize=False)
        except BadDataError:
            return False

    def _applied(self, turns: Sequence[Message], **how: bool) -> Any:
        from jinja2 import TemplateError

        conversation = [{"role": one.role.value, "content": one.content} for one in turns]
        try:
            return self.vocabulary.tokenizer.apply_chat_template(
                conversation, add_generation_prompt=True, return_dict=False, **how
            )
        except Exception as error:  # a template can raise anything
            if type(error) is TemplateError:  # its own raise_exception
                raise BadDataError(
                    f"the model's chat template refuses this conversation: {error}",
                    remedy="Send other roles or another order of messages",
                ) from error
            raise BadModelError(
                f"the model's chat template cannot be used: {error}",
                remedy="Correct chat_template in the model's folder, or leave it out there",
            ) from error
