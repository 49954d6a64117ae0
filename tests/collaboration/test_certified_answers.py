"""Certified answers: whole runs with asks, beside those of full rows."""

import itertools

import pytest
import torch
from common.collaboration.local import LocalDavid, run_local

from common.collaboration.certification import AskCaps, Tally, doubts
from common.collaboration.codec import encode
from common.collaboration.contribution import Codec
from common.collaboration.contributor import Contributor, Voicing
from common.collaboration.fusion import Voice
from common.denoising.halting import HaltRule
from common.processes.simplex.settings import Projection, SelfConditioning
from tests.loops import BLOCK, PROMPT, VOCABULARY, plan
from tests.tiny import tiny_model

LIFTED = AskCaps(10**9, 10**9)


def david(model, *, codec=Codec.TOPK, entries=2, kind=SelfConditioning.OWN, context=""):
    return Contributor(
        model,
        VOCABULARY,
        prompt=PROMPT,
        context=context,
        voicing=Voicing(codec=codec, entries=entries, certify=codec is Codec.TOPK),
        self_conditioning=kind,
        answer_length=2 * BLOCK,
        temperature=1.0,
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

    def run(codec, caps=None, tally=None):
        davids = {
            f"d{i}": LocalDavid(david(m, codec=codec, entries=1 + i, kind=kind), 0.3)
            for i, m in enumerate(small)
        }
        seen = []
        result = run_local(agreed, goliath, davids, seen.append, caps=caps, tally=tally)
        states = [one.state.estimate.tolist() for one in seen]
        return result.ids.tolist(), result.steps, states

    certain, default = Tally(), Tally()
    expected = run(Codec.DENSE)
    assert run(Codec.TOPK, LIFTED, certain) == expected
    assert (certain.uncertified, certain.asks > 0) == (0, True)
    assert certain.asked_ids >= certain.asks
    assert run(Codec.TOPK, None, default) != expected
    assert (default.uncertified > 0, default.asks) == (True, 0)


def test_contributors_that_cannot_answer_are_not_asked(models):
    class Mute:
        def __init__(self, inner):
            self.contribute = inner.contribute

    tally = Tally()
    run_local(
        plan(), models[0], {"d": LocalDavid(Mute(david(models[1])), 0.5)}, caps=LIFTED, tally=tally
    )
    assert tally.asks == 0
    assert tally.uncertified > 0


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
    counts = {}
    for codec, number in itertools.product(Codec, (1, 5)):
        voices = [
            Voice(
                str(i),
                0.1,
                encode(torch.randn(shape, generator=generator), block=0, step=0, codec=codec),
            )
            for i in range(number)
        ]
        with Counting() as counting:
            doubts(plan(forbidden=(), end=0), core, voices, block=0, step=0)
        counts[codec, number] = counting.large
    assert 0 < counts[Codec.TOPK, 1] == counts[Codec.TOPK, 5]
    assert 0 < counts[Codec.DENSE, 1] == counts[Codec.DENSE, 5]
