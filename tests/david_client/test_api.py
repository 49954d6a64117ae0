"""The Python API: embedded and over a real connection, in and beside a running event loop."""

import asyncio
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import trustme
from torch import Tensor

from common import David, Goliath, acollaborate, astream, collaborate, stream
from common.denoising.plan import Decider
from common.denoising.process import View
from common.errors import (
    SessionCancelledError,
    UsageError,
)
from common.text.templates import asked
from common.wire.tls import TlsFiles
from tests.goliath_server.waiting import until
from tests.serving import CONTEXT, DAVID, GOLIATH, PROMPT, VOCABULARY, Served, serving

HOW = {"seed": 5, "steps": 4, "max_tokens": 32}
LONG = {"steps": 1000}


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, TlsFiles]:
    """Files of mutual TLS for the two sides."""
    authority = trustme.CA()
    (tmp_path / "ca").write_bytes(authority.cert_pem.bytes())
    files = {}
    for side in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1")
        key, certificate = tmp_path / f"{side}.key", tmp_path / f"{side}.pem"
        key.touch(0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        files[side] = TlsFiles(certificate, key, tmp_path / "ca")
    return files


async def freed(served: Served) -> float:
    """Seconds until the server has no session."""
    began = time.perf_counter()
    assert await until(lambda: not served.service._per_peer.total())
    return time.perf_counter() - began


def test_what_is_exported_needs_no_torch() -> None:
    code = (
        "import sys, common; light = set(sys.modules)\n"
        "found = {name: getattr(common, name) for name in common.__all__}\n"
        "assert 'typing' not in light and 'david_client' not in light, light\n"
        "assert 'torch' not in sys.modules and 'grpc' not in sys.modules\n"
        "print(*sorted(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        *("CollaborationError", "David", "Draft", "Goliath", "Message", "Reply", "TlsFiles"),
        *("acollaborate", "astream", "collaborate", "stream"),
    ]


async def test_networked_equals_embedded_over_tls(tls: dict[str, TlsFiles]) -> None:
    davids = [David(DAVID, context=CONTEXT, weight=0.5, contrast=0.5)]
    async with serving(tls=tls["server"], client_tls=tls["client"]) as served:
        with Goliath.connect(served.address, tls=tls["client"]) as goliath:
            over = await acollaborate(goliath, davids, PROMPT, **HOW)
            # The server answers in this thread's loop: the plain form must not hold it.
            plain = await asyncio.to_thread(collaborate, goliath, davids, PROMPT, **HOW)
    with Goliath(GOLIATH) as goliath:
        here = collaborate(goliath, davids, PROMPT, **HOW)
    assert over.ids == plain.ids == here.ids
    assert over.settings == here.settings
    assert over.attribution == plain.attribution == here.attribution
    assert over.counts == here.counts
    assert over.counts[0].took_part == over.steps_run == 8
    assert over.bytes_up > over.bytes_down > here.bytes_up == 0
    assert len(here.attribution) == len(here.ids) > 0
    assert set(here.attribution) <= set(Decider)


@pytest.mark.parametrize("way", ["break", "close", "error"])
async def test_leaving_a_stream_frees_the_servers_slot(way: str) -> None:
    async with serving() as served:
        goliath = Goliath.connect(served.address, insecure=True)

        def leave() -> None:
            drafts = stream(goliath, [David(DAVID)], PROMPT, **LONG)
            with closing(drafts):
                for draft in drafts:
                    assert served.service._per_peer.total() == 1
                    if draft.step == 2:
                        if way == "error":
                            raise ZeroDivisionError
                        break

        def leave_bare() -> None:
            for _ in stream(goliath, [David(DAVID)], PROMPT, **LONG):
                break

        if way == "error":
            with pytest.raises(ZeroDivisionError):
                await asyncio.to_thread(leave)
        else:
            await asyncio.to_thread(leave if way == "close" else leave_bare)
        assert await freed(served) < 1
        goliath.close()


async def test_leaving_an_async_stream_frees_the_servers_slot() -> None:
    async with serving() as served:
        with Goliath.connect(served.address, insecure=True) as goliath:
            async for draft in astream(goliath, [David(DAVID)], PROMPT, **LONG):
                if draft.step == 2:
                    break
            assert await freed(served) < 1
            asking = asyncio.create_task(acollaborate(goliath, [David(DAVID)], PROMPT, **LONG))
            assert await until(lambda: served.service._per_peer.total() > 0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert await freed(served) < 1


async def test_both_forms_in_a_running_loop() -> None:
    with Goliath(GOLIATH) as goliath:
        plain = collaborate(goliath, [David(DAVID)], PROMPT, **HOW)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        free = await acollaborate(goliath, [David(DAVID)], PROMPT, **HOW)
        ticking.cancel()
    assert plain.ids == free.ids
    assert ticks > 10


def test_every_step_is_a_draft_and_the_last_one_has_the_answer() -> None:
    with Goliath(GOLIATH) as goliath:
        *drafts, last = stream(goliath, [David(DAVID, weight=0.25)], PROMPT, **HOW)
    assert [(one.block, one.step) for one in drafts] == [(b, s) for b in (0, 1) for s in range(4)]
    assert all(one.answer is None for one in drafts)
    assert last.answer is not None
    assert last.text == last.answer.text
    assert last.weight == 0.25
    assert (drafts[0].text, last.step) == ("", 4)
    assert drafts[4].text.startswith(VOCABULARY.decode(drafts[4].finished))


def test_a_seed_that_is_drawn_is_reported() -> None:
    with Goliath(GOLIATH) as goliath:
        one, other = (collaborate(goliath, [], PROMPT, steps=2) for _ in range(2))
        again = collaborate(goliath, [], PROMPT, steps=2, seed=one.settings.seed)
    assert one.settings.seed != other.settings.seed
    assert again.ids == one.ids
    assert (one.counts, one.weight) == ((), 0)


def test_a_prompt_is_a_text_or_messages() -> None:
    forms: tuple[Any, ...] = (PROMPT, asked(PROMPT), [{"role": "user", "content": PROMPT}])
    with Goliath(GOLIATH) as goliath:
        answers = {collaborate(goliath, [], form, **HOW).ids for form in forms}
        assert len(answers) == 1
        for wrong in ([{"role": "nobody", "content": "x"}], [{"content": "x"}], [7]):
            with pytest.raises(UsageError, match="system, user, assistant"):
                collaborate(goliath, [], wrong)  # type: ignore[arg-type]


class Foreign:
    """A predictor of nobody's family."""

    vocabulary_size = VOCABULARY.size
    max_positions = 256
    sees_suffix = True
    prefix = DAVID.predictor.prefix
    extend = DAVID.predictor.extend

    def predict(self, views: list[View]) -> list[Tensor]:
        return [rows[0] for rows in DAVID.predictor.predict(views)]


def test_a_david_is_a_model_a_predictor_or_a_function() -> None:
    def rows(view: View) -> Tensor:
        found: Tensor = DAVID.predictor.predict([view])[0]
        return found.double()

    with Goliath(GOLIATH) as goliath:
        of_model, of_predictor, of_function = (
            collaborate(goliath, [David(one, context=CONTEXT)], PROMPT, **HOW)
            for one in (DAVID, Foreign(), rows)
        )
    assert of_model.ids == of_predictor.ids == of_function.ids
    names = [one.counts[0].david for one in (of_model, of_predictor, of_function)]
    assert names == ["d", "Foreign", "rows"]


def test_several_davids_take_part() -> None:
    one, other = David(DAVID, weight=0.5), David(DAVID, context=CONTEXT, weight=0.25)
    with Goliath(GOLIATH) as goliath:
        both = collaborate(goliath, [one, other], PROMPT, **HOW)
        alone = [collaborate(goliath, [david], PROMPT, **HOW) for david in (one, other)]
        turned = collaborate(goliath, [other, one], PROMPT, **HOW)
    assert [count.took_part for count in both.counts] == [8, 8]
    assert [count.settings.weight for count in both.counts] == [0.5, 0.25]
    assert both.weight == 0.75
    assert len({both.ids, *(reply.ids for reply in alone)}) == 3
    assert [count.settings.weight for count in turned.counts] == [0.25, 0.5]


async def test_what_cannot_be_is_refused() -> None:
    with Goliath(GOLIATH) as goliath:
        refused: list[tuple[dict[str, Any], str]] = [
            ({"stepz": 1}, "stepz"),
            ({"steps": 0}, "1 to 65535 steps"),
            ({"steps": 2.5}, "1 to 65535 steps"),
            ({"certify": "yes"}, "certify: expected bool"),
            ({"late_rule": "never"}, "wait or solo or fail"),
            ({"weight": 0.5}, "each David"),
            ({"seed": -1}, "seed"),
        ]
        for settings, says in refused:
            with pytest.raises(UsageError, match=says):
                collaborate(goliath, [David(DAVID)], PROMPT, **settings)
        with pytest.raises(UsageError, match=r"at most 1 in all, got 1\.25"):
            collaborate(goliath, [David(DAVID), David(DAVID, weight=0.5)], PROMPT)
        with pytest.raises(UsageError, match="weight: expected 0 to 1"):
            David(DAVID, weight=2)
        with pytest.raises(UsageError, match="steps: no setting of a David"):
            David(DAVID, steps=2)
        with pytest.raises(UsageError, match=r"expected the shape \(16, \d+\)"):
            collaborate(goliath, [David(lambda view: torch.zeros(3))], PROMPT)
    async with serving() as served:
        with Goliath.connect(served.address, insecure=True) as goliath:
            with pytest.raises(UsageError, match="expected one David, got 2"):
                await acollaborate(goliath, [David(DAVID), David(DAVID, weight=0)], PROMPT)
            with pytest.raises(UsageError, match="vocabulary and a template"):
                await acollaborate(goliath, [David(lambda view: torch.zeros(3))], PROMPT)
    with pytest.raises(UsageError, match="loopback"):
        Goliath.connect("192.0.2.1:7600", insecure=True)


def test_a_goliath_that_is_closed() -> None:
    goliath = Goliath(GOLIATH)
    drafts = stream(goliath, [David(DAVID)], PROMPT, **LONG)
    next(drafts)
    goliath.close()
    with pytest.raises(SessionCancelledError, match="closed"):
        list(drafts)
    goliath.close()
    with pytest.raises(UsageError, match="closed"):
        collaborate(goliath, [], PROMPT)
