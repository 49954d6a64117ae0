"""The Python API, which the package `common` exports; importing this imports no torch.

The sessions of a Goliath run on an event loop in a thread of their own. So the plain functions also
work inside a running event loop, as in a notebook, the async ones leave theirs free, and gRPC sees
one loop.
"""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Self, cast

from common.collaboration.settings import ContributorSettings, Requested, SessionSettings
from common.denoising.plan import Decider
from common.errors import SessionCancelledError, UsageError
from common.models.registry import DEFAULT_GOLIATH, LanguageModel, open_model
from common.program.device import settle_device
from common.text.templates import Message, Speaker, asked
from david_client.asking import David, Question
from david_client.origins import Origins
from david_client.place import Place
from david_client.reply import Draft, Reply

if TYPE_CHECKING:
    from common.denoising.process import Process
    from common.guidance.choice import GuideChoice
    from common.guidance.guide import Guide
    from common.wire.tls import TlsFiles

__all__ = ["David", "Draft", "Goliath", "Reply", "acollaborate", "astream", "collaborate", "stream"]

Prompt = str | Sequence[Message | Mapping[str, str]]
"""A question, or a conversation whose last message is answered; as mappings messages have a `role`
(system, user or assistant) and a `content`.
"""
_WAKE_S = 0.2
_Item = Draft | asyncio.Task[Reply]
"""What comes of a session: its drafts, and last the task that ended."""


@dataclass(frozen=True, slots=True)
class _NoSettings:
    """All that can be requested of a process of one's own."""


class Goliath:
    """A large model, in this process or on a server. Use as a context manager, or `close` it."""

    model: LanguageModel | None = None
    """The model, where it is in this process."""
    place: Place | None = None
    """Where it is, where that is elsewhere."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        guide: Guide | None = None,
        process: Callable[[SessionSettings], Process] | None = None,
        settings: SessionSettings | None = None,
    ) -> None:
        """A model in this process.

        Args:
            model: predictor, vocabulary and template.
            guide: what steers it; None for nothing.
            process: makes the process of each session, one of your own; None for the one that the
                model was trained for, which a model of this project says.
            settings: what holds where nothing else is requested; None for what suits the model.
        """
        from david_client.embedded import ask_embedded

        if process is not None:
            settings = replace(settings or SessionSettings(), process=cast(Any, _NoSettings()))
        self.model = model
        self._begin(
            partial(ask_embedded, goliath=model, guide=guide, process=process, defaults=settings)
        )

    def _begin(self, ask: Callable[..., Any]) -> None:
        self._ask: Callable[..., Any] | None = ask
        self._thread = _Thread()
        # Also for those who never close it: a thread that waits would keep its loop for ever.
        self._end = weakref.finalize(self, self._thread.end)

    @classmethod
    def load(
        cls,
        name: str = DEFAULT_GOLIATH,
        *,
        device: str = "auto",
        dtype: str = "float32",
        guide: GuideChoice | None = None,
    ) -> Self:
        """A large model in this process, by its folder or name.

        Args:
            name: a folder, or a name that `goliath models` lists.
            device: a torch device; "auto" takes a GPU where there is one.
            dtype: "float32", "bfloat16" or "float16".
            guide: a classifier that steers it; None for none.

        Raises:
            BadModelError: it cannot be loaded.
            UsageError: there is no such device, or the guide does not know the label.
            VocabularyMismatchError: the guide's vocabulary is another one.
        """
        model = open_model(name, device=settle_device(device), dtype=dtype)
        if guide is None:
            return cls(model)
        from common.guidance.loading import load_guide

        longest = model.predictor.max_positions
        return cls(model, guide=load_guide(guide, model, longest_block=longest))

    @classmethod
    def connect(
        cls,
        address: str,
        *,
        tls: TlsFiles | None = None,
        insecure: bool = False,
        server_name: str = "",
        timeout_s: float = 600.0,
    ) -> Self:
        """A large model on a server. Each session connects anew; nothing is sent before.

        Args:
            address: HOST:PORT.
            tls: the files of mutual TLS.
            insecure: plain text, on loopback only, instead of TLS.
            server_name: the host that the server's certificate must name; empty: the address's.
            timeout_s: longest time of a session, in seconds.

        Raises:
            UsageError: the choice of security does not fit the address.
        """
        from common.wire.channels import check_security
        from david_client.client import ask

        check_security(address, tls=tls, insecure=insecure)
        self = cls.__new__(cls)
        self.place = Place(address, tls=tls, insecure=insecure, server_name=server_name)
        self._begin(partial(ask, place=self.place, timeout_s=timeout_s))
        return self

    def close(self) -> None:
        """End the sessions that still run, and take no more."""
        self._end()
        self._thread.join()
        self.model = self._ask = None

    def __enter__(self) -> Self:
        """The model itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _start(
        self, question: Question, davids: Sequence[David], give: Callable[[_Item], object]
    ) -> Callable[[], None]:
        """Begin a session; returns what cancels it.

        `give` takes each draft, and last the task that ended, in the thread of the sessions.

        Raises:
            UsageError: this Goliath is closed.
        """
        if self._ask is None:
            raise UsageError("this Goliath is closed", remedy="Load or connect it again")
        answer = _attributed(self._ask, question, davids, give)
        tasks: list[asyncio.Task[Reply]] = []

        def start() -> None:
            tasks.append(asyncio.create_task(answer))
            tasks[0].add_done_callback(give)

        self._thread.call(start)
        return lambda: self._thread.call(lambda: tasks[0].cancel())


async def _attributed(
    ask: Callable[..., Any],
    question: Question,
    davids: Sequence[David],
    give: Callable[[Draft], object],
) -> Reply:
    """The reply, with who brought in each of its tokens."""
    origins = Origins()

    def see(draft: Draft) -> None:
        origins.follow(draft)
        give(draft)

    reply: Reply = await ask(question, davids, on_draft=see)
    deciders = (Decider(one) if one else None for one in origins.conclude(reply))
    return replace(reply, attribution=tuple(deciders))


class _Thread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        """Start it."""
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        # A program that ends does not wait for a model that computes.
        self._thread = Thread(target=self._run, name="goliath", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._over.wait())

    def call(self, work: Callable[[], object]) -> None:
        """Call something on the loop, after what was called before; nothing where it has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work)

    def end(self) -> None:
        """Cancel what runs, and end."""
        self.call(self._over.set)

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()


def stream(
    goliath: Goliath,
    davids: Sequence[David],
    prompt: Prompt,
    *,
    seed: int | None = None,
    suffix: str = "",
    **settings: Any,
) -> Generator[Draft]:
    """The drafts of an answer, one for each step; the last one has the `answer`.

    Leaving early, be it with `break` or `close()`, ends the session.

    Args:
        goliath: the large model.
        davids: the small ones; their weights are at most 1 together. A session on a server has one.
        prompt: what is asked; it is public.
        seed: seed of all noise; None draws one, which the answer's settings have.
        suffix: public text that the answer leads into.
        settings: settings of the session and of its process by their names, such as steps,
            max_tokens, temperature, certify; what is not given is as Goliath has it.

    Raises:
        CollaborationError: any of its kinds; `UsageError` for a setting that there is not.
    """
    return _drafts(goliath, davids, _question(prompt, seed, suffix, settings))


def _drafts(goliath: Goliath, davids: Sequence[David], question: Question) -> Generator[Draft]:
    items: SimpleQueue[_Item] = SimpleQueue()
    cancel = goliath._start(question, davids, items.put)
    item: _Item | None = None
    draft = None
    try:
        while isinstance(item := _next(items), Draft):
            yield (draft := item)
        yield _last(draft, item)
    finally:
        while not isinstance(item, asyncio.Task):
            cancel()
            item = _next(items)


def _next(items: SimpleQueue[_Item]) -> _Item:
    """What comes next; an endless wait would miss a signal that reached another thread."""
    while True:
        with suppress(Empty):
            return items.get(timeout=_WAKE_S)


async def astream(
    goliath: Goliath,
    davids: Sequence[David],
    prompt: Prompt,
    *,
    seed: int | None = None,
    suffix: str = "",
    **settings: Any,
) -> AsyncGenerator[Draft]:
    """As `stream`, for a running event loop, which stays free."""
    items: asyncio.Queue[_Item] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def give(item: _Item) -> None:
        loop.call_soon_threadsafe(items.put_nowait, item)

    cancel = goliath._start(_question(prompt, seed, suffix, settings), davids, give)
    item: _Item | None = None
    draft = None
    try:
        while isinstance(item := await items.get(), Draft):
            yield (draft := item)
        yield _last(draft, item)
    finally:
        while not isinstance(item, asyncio.Task):
            cancel()
            item = await items.get()


def collaborate(
    goliath: Goliath,
    davids: Sequence[David],
    prompt: Prompt,
    *,
    seed: int | None = None,
    suffix: str = "",
    **settings: Any,
) -> Reply:
    """The answer; arguments and errors as `stream`."""
    for draft in stream(goliath, davids, prompt, seed=seed, suffix=suffix, **settings):
        reply = draft.answer
    assert reply is not None
    return reply


async def acollaborate(
    goliath: Goliath,
    davids: Sequence[David],
    prompt: Prompt,
    *,
    seed: int | None = None,
    suffix: str = "",
    **settings: Any,
) -> Reply:
    """As `collaborate`, for a running event loop, which stays free."""
    async for draft in astream(goliath, davids, prompt, seed=seed, suffix=suffix, **settings):
        reply = draft.answer
    assert reply is not None
    return reply


def _question(
    prompt: Prompt, seed: int | None, suffix: str, settings: Mapping[str, Any]
) -> Question:
    misplaced = set(settings) & {one.name for one in fields(ContributorSettings)}
    if misplaced:
        raise UsageError(
            f"{min(misplaced)}: a setting of each David", remedy="Give it to David(...)"
        )
    seed = secrets.randbits(32) if seed is None else seed
    return Question(_messages(prompt), seed, suffix, Requested({"seed": seed, **settings}))


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return asked(prompt)
    try:
        return tuple(
            one if isinstance(one, Message) else Message(Speaker(one["role"]), one["content"])
            for one in prompt
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"messages: expected each to have a role ({', '.join(Speaker)}) and a content"
        ) from error


def _last(draft: Draft | None, ended: asyncio.Task[Reply]) -> Draft:
    """The answer, as a draft after the one before.

    Raises:
        SessionCancelledError: the Goliath was closed.
        CollaborationError: what ended the session.
    """
    if ended.cancelled():
        raise SessionCancelledError("the session was cancelled: Goliath is closed")
    reply = ended.result()
    block, step = (0, 0) if draft is None else (draft.block, draft.step + 1)
    return Draft(
        reply.settings,
        block,
        step,
        0.0,
        reply.ids,
        None,
        goliath=reply.goliath,
        bytes_up=reply.bytes_up,
        bytes_down=reply.bytes_down,
        weight=reply.weight,
        vocabulary=None if draft is None else draft.vocabulary,
        answer=reply,
    )
