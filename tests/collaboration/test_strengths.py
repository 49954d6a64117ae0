"""What the strength of a row does: its share is the weight times the strength."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.certification import AskCaps, all_answered, doubts
from common.collaboration.codec import LOWEST, answer_from, encode
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.opening import plan_for
from common.collaboration.settings import Codec
from common.denoising.process import Shown
from common.denoising.streams import Philox
from common.text.templates import asked
from tests.serving import GOLIATH
from tests.serving import settings as agreed

ROWS, SIZE = 4, 30
LIFTED = AskCaps(10**9, 10**9)


def logits(seed: int, rows: int = ROWS, size: int = SIZE) -> torch.Tensor:
    return 4 * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def weighted(
    name: str, weight: float, rows: torch.Tensor, codec: Codec, strengths: list[int]
) -> Weighted:
    """A contribution whose rows of strength 0 have no entries."""
    made = encode(rows, block=0, step=0, codec=codec, entries=8)
    counts = np.where(np.array(strengths) > 0, made.counts, 0).astype(np.int32)
    sent = np.repeat(np.array(strengths) > 0, made.counts)
    made = replace(
        made,
        counts=counts,
        ids=made.ids[sent] if codec is Codec.TOPK else made.ids,
        values=made.values[sent],
        strengths=np.array(strengths, np.uint8),
    )
    return Weighted(name, weight, made)


@pytest.mark.parametrize("codec", Codec)
def test_full_strength_is_as_none_stated_bit_for_bit(codec: Codec) -> None:
    core = logits(1).unsqueeze(0)
    stated = weighted("a", 0.3, logits(2), codec, [255] * ROWS)
    plain = replace(
        stated, contribution=replace(stated.contribution, strengths=np.empty(0, np.uint8))
    )
    one, other = fuse(core, [stated]), fuse(core, [plain])
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(one.david_choice, other.david_choice)


@pytest.mark.parametrize("codec", Codec)
def test_a_row_of_strength_nought_takes_no_part(codec: Codec) -> None:
    core = logits(1).unsqueeze(0)
    quiet = fuse(core, [weighted("a", 0.7, logits(2), codec, [255, 0, 255, 0])])
    alone = (core - core.amax(-1, keepdim=True)).clamp(min=LOWEST)
    whole = fuse(core, [weighted("a", 0.7, logits(2), codec, [255] * ROWS)])
    assert torch.equal(quiet.scores[:, 1::2], alone[:, 1::2])
    assert torch.equal(quiet.scores[:, ::2], whole.scores[:, ::2])
    assert (quiet.david_choice[:, 1::2] == SIZE).all()  # no id is a David's choice there


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("strength", [1, 128, 254])
def test_a_strength_scales_the_weight_of_its_row(codec: Codec, strength: int) -> None:
    core, rows = logits(1).unsqueeze(0), logits(2)
    half = fuse(core, [weighted("a", 0.6, rows, codec, [strength] * ROWS)])
    same = fuse(core, [weighted("a", 0.6 * (strength / 255), rows, codec, [255] * ROWS)])
    assert torch.equal(half.scores, same.scores)


@given(
    seed=st.integers(0, 10**6),
    codecs=st.lists(st.sampled_from([Codec.TOPK, Codec.TOPK, Codec.DENSE]), min_size=1, max_size=3),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_one_round_of_asks_certifies_what_counts(
    seed: int, codecs: list[Codec], data: st.DataObject
) -> None:
    terms = agreed(temperature=0.7, min_p=0.05)
    plan = plan_for(GOLIATH, terms, messages=asked("how do i make soup"))
    state = plan.process.start(0, (), Philox(seed))
    shown = Shown(state, plan.process.open(state))
    shape = (len(shown.open), GOLIATH.vocabulary.size)
    core = logits(seed, *shape).unsqueeze(0)
    some = st.lists(st.sampled_from([0, 0, 9, 255]), min_size=shape[0], max_size=shape[0])
    rows = {f"david-{i}": logits(seed + i + 1, *shape) for i in range(len(codecs))}
    contributions = [
        weighted(name, 0.3, mine, codec, data.draw(some))
        for (name, mine), codec in zip(rows.items(), codecs, strict=True)
    ]
    doubt = doubts(plan, core, contributions, shown=shown, caps=LIFTED)
    for one in contributions:
        if one.contributor_id in doubt.asks:
            assert (one.shares[doubt.asks[one.contributor_id].positions] > 0).all()
    answers = {name: answer_from(rows[name], ask) for name, ask in doubt.asks.items()}
    after = doubts(
        plan, core, all_answered(contributions, doubt.asks, answers), shown=shown, caps=LIFTED
    )
    assert not after.uncertified.any()
    assert after.asks == {}
    silent = np.all([one.shares == 0 for one in contributions], axis=0)
    assert not doubt.uncertified[silent].any()
