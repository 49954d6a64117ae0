"""The laws of a `Predictor`: what a driver counts on, of every one."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from common.denoising.process import Process, Scored, View
from common.denoising.streams import Philox
from common.models.masked_lm import MaskedPredictor
from common.models.predictor import Predictor, Text
from common.models.simplex_lm import SimplexPredictor
from common.processes.masked.process import Masked
from common.processes.simplex.process import Simplex
from common.processes.simplex.settings import SelfConditioning
from tests.parity import families
from tests.parity.diffusion_gemma import Uniform, diffusion_gemma
from tests.parity.masked import Dream, LLaDA
from tests.parity.tess2 import Tess2, tess2
from tests.tiny import tiny_model, tiny_vocabulary
from tests.tiny_masked import tiny_masked_lm

MASK = 294
PROMPT = (21, 34, 55, 89, 17, 64, 93, 72, 41, 28, 66, 19, 83)
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def _simplex_lm() -> SimplexPredictor:
    return SimplexPredictor(tiny_model(tiny_vocabulary(), seed=1))


def _simplex() -> Simplex:
    return Simplex((1.0, 0.7, 0.4, 0.1), 8, 3, 1.0, 0.02, SelfConditioning.OWN)


def _masked_lm(kind: str) -> MaskedPredictor:
    return MaskedPredictor(tiny_masked_lm(kind, 300, seed=1), MASK, 295)


LAWS: dict[str, tuple[Callable[[], Predictor], Process]] = {
    "simplex LM": (_simplex_lm, _simplex()),
    **{
        kind: (functools.partial(_masked_lm, kind), Masked(8, 4))
        for kind in ("bert", "roberta", "modernbert", "distilbert")
    },
    "LLaDA": (families.llada, LLaDA(MASK, 8, 4, sub_length=4)),
    "LLaDA with guidance": (families.llada_guided, LLaDA(MASK, 8, 4, sub_length=4)),
    "Dream": (families.dream, Dream(MASK, 8, 5)),
    "SDAR": (families.sdar, Masked(4, 4, grid=True)),
    "LLaDA2.1": (families.llada2, Masked(4, 4, grid=True)),
    "TESS 2": (tess2, Tess2(8, 6, 300)),
    "DiffusionGemma": (diffusion_gemma, Uniform(8, 6, 300)),
}


@dataclass(frozen=True)
class Law:
    """A predictor, and views of blocks of one length that it can read."""

    predictor: Predictor
    first: View
    """The first step of a block."""
    later: View
    """A later one behind a longer prefix, with what the model conditions on."""

    def rows(self, view: View) -> torch.Tensor:
        return self.predictor.predict([view])[0]


@pytest.fixture(params=LAWS)
def law(request: pytest.FixtureRequest) -> Iterator[Law]:
    make, process = LAWS[request.param]
    predictor = make()
    draws = torch.Generator().manual_seed(1)
    state = process.start(0, (), Philox(3))
    first = View(PROMPT[:8], state, process.open(state), (), process.condition(state, None))
    for _ in range(2):
        shape = (1, len(process.open(state)), predictor.vocabulary_size)
        scores = 3 * torch.randn(shape, generator=draws)
        advanced = process.advance(state, Scored(scores, scores, 8), Philox(3))
        own = process.remember(scores) if advanced.condition is None else advanced.condition
        state = advanced.state
    later = View(PROMPT, state, process.open(state), (), process.condition(state, own))
    with torch.inference_mode():
        yield Law(predictor, first, later)


def test_rows_are_those_of_the_open_positions(law: Law) -> None:
    views = [law.later, law.first]
    for rows, view in zip(law.predictor.predict(views), views, strict=True):
        assert rows.shape == (1, len(view.open), law.predictor.vocabulary_size)
        assert rows.dtype == torch.float32
        assert rows.isfinite().all()


def test_which_positions_are_open_does_not_change_a_row(law: Law) -> None:
    every = replace(law.later, open=np.arange(law.later.state.positions))
    some = every.open[1::2]
    assert torch.allclose(law.rows(replace(every, open=some)), law.rows(every)[:, some], **CLOSE)


def test_a_view_alone_is_a_view_in_a_batch(law: Law) -> None:
    views = [law.later, law.first, law.later]
    for rows, view in zip(law.predictor.predict(views), views, strict=True):
        assert torch.allclose(rows, law.rows(view), **CLOSE)


def test_the_same_view_gives_the_same_bits(law: Law) -> None:
    cached = Text(law.predictor).before(law.later)
    again = Text(law.predictor).before(law.later)
    rows = law.rows(cached)
    assert torch.equal(law.rows(cached), rows), "predicting changed what is kept of the prefix"
    assert torch.equal(law.rows(again), rows)


def test_a_prefix_that_grew_is_the_prefix_read_at_once_and_the_one_not_kept(law: Law) -> None:
    def grown() -> torch.Tensor:
        text = Text(law.predictor)
        for end in (len(PROMPT) - law.later.state.positions, len(PROMPT) - 1, len(PROMPT)):
            assert text.grow(PROMPT[:end]).ids == PROMPT[:end]
        return law.rows(text.before(law.later))

    rows = grown()
    assert torch.equal(grown(), rows), "the same pieces gave other bits"
    assert torch.allclose(law.rows(Text(law.predictor).before(law.later)), rows, **CLOSE)
    assert torch.allclose(law.rows(law.later), rows, **CLOSE)


def test_rows_depend_on_the_prefix_and_on_the_state(law: Law) -> None:
    other = replace(law.later, prefix=(*PROMPT[:-1], 44))
    assert not torch.allclose(law.rows(other), law.rows(law.later), **CLOSE)
    before = replace(law.first, open=law.later.open, prefix=PROMPT)
    assert not torch.allclose(law.rows(before), law.rows(law.later), **CLOSE)


def test_a_suffix_is_seen_where_the_predictor_says_so(law: Law) -> None:
    rows = law.rows(replace(law.later, suffix=(31, 32)))
    assert torch.allclose(rows, law.rows(law.later), **CLOSE) != law.predictor.sees_suffix


def test_rows_are_divided_by_the_temperature(law: Law) -> None:
    rows = law.rows(replace(law.later, temperature=2.0))
    assert torch.allclose(2 * rows, law.rows(law.later), **CLOSE)


def test_a_text_as_long_as_the_predictor_says_can_be_read(law: Law) -> None:
    length = law.predictor.max_positions - law.first.state.positions
    assert law.rows(replace(law.first, prefix=(PROMPT * 64)[:length])).isfinite().all()
