"""Certified answers: whole runs with asks, beside those of full rows."""

import asyncio
import itertools

import pytest
import torch

from common.collaboration.certification import AskCaps, doubts
from common.collaboration.codec import encode
from common.collaboration.contributor import Contributor, Encoding
from common.collaboration.driver import Local
from common.collaboration.fusion import Weighted
from common.collaboration.settings import Codec
from common.collaboration.timing import Timing
from common.denoising.halting import HaltRule
from common.processes.simplex.settings import Projection, SelfConditioning
from tests.loops import STEPS, VOCABULARY, local_drive, plan, rows_by, shown_at
from tests.tiny import tiny_model

LIFTED = AskCaps(10**9, 10**9)


def david(model, agreed, *, codec=Codec.TOPK, entries=2):
    return Contributor(
        rows_by(model),
        agreed.process,
        [agreed.prompt],
        encoding=Encoding(codec, entries),
        certify=codec is Codec.TOPK,
    )


@pytest.fixture(scope="module")
def models():
    return [tiny_model(VOCABULARY, seed=seed) for seed in (1, 2, 5)]


WAYS = {
    "greedy": {},
    "sampling": {"temperature": 0.7, "min_p": 0.05},
    "hot": {"temperature": 0.7, "min_p": 0.05, "projection": Projection.MULTI_HOT},
    "halting": {"temperature": 0.7, "min_p": 0.2, "halting": HaltRule(1, 0.1)},
}


@pytest.mark.parametrize("kind", SelfConditioning)
@pytest.mark.parametrize("way", WAYS)
def test_with_the_caps_lifted_all_tokens_are_those_of_full_rows(models, way, kind):
    goliath, *small = models
    agreed = plan(self_conditioning=kind, **WAYS[way])

    def run(codec, caps=None):
        davids = {
            f"d{i}": (david(m, agreed, codec=codec, entries=1 + i), 0.3)
            for i, m in enumerate(small)
        }
        seen = []
        drive = local_drive(agreed, goliath, davids, caps=caps)
        result = asyncio.run(drive.run(seen.append))
        states = [one.state.estimate.tolist() for one in seen]
        return (result.ids.tolist(), result.steps, states), drive.tally

    expected, _ = run(Codec.DENSE)
    found, certain = run(Codec.TOPK, LIFTED)
    assert found == expected
    assert (certain.uncertified, certain.asks > 0) == (0, True)
    assert certain.asked_ids >= certain.asks
    found, default = run(Codec.TOPK, None)
    assert found != expected
    assert (default.uncertified > 0, default.asks) == (True, 0)


def test_asks_that_are_not_answered_do_not_count(models):
    class Mute(Local):
        async def answer(self, ask):
            return None

    agreed = plan()
    mute = Mute(david(models[1], agreed), 0.5, Timing(STEPS))
    drive = local_drive(agreed, models[0], {"d": mute}, caps=LIFTED)
    asyncio.run(drive.run())
    assert drive.tally.asks == 0
    assert drive.tally.uncertified > 0


def test_fusing_and_certifying_make_no_matrix_for_each_david():
    """The number of tensors of positions x V does not rise with the number of Davids."""
    from torch.utils._python_dispatch import TorchDispatchMode

    shape = (6, 500)

    class Counting(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.large = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.numel() >= shape[0] * shape[1]:
                self.large += 1
            return out

    generator = torch.Generator().manual_seed(1)
    core = torch.randn(1, *shape, generator=generator)
    agreed = plan(forbidden=(), end=0)
    shown = shown_at(agreed, 0, 0, positions=shape[0])
    counts = {}
    for codec, number in itertools.product(Codec, (1, 5)):
        contributions = [
            Weighted(
                str(i),
                0.1,
                encode(torch.randn(shape, generator=generator), block=0, step=0, codec=codec),
            )
            for i in range(number)
        ]
        with Counting() as counting:
            doubts(agreed, core, contributions, shown=shown)
        counts[codec, number] = counting.large
    assert 0 < counts[Codec.TOPK, 1] == counts[Codec.TOPK, 5]
    assert 0 < counts[Codec.DENSE, 1] == counts[Codec.DENSE, 5]
