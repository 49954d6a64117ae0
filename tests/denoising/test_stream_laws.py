"""The laws of a `Stream`: what a process counts on when it draws, of every one."""

import pytest
import torch
from torch import Tensor

from common.denoising.streams import Philox, Purpose, Stream
from tests.parity.streams import Recorded, TorchStream

AT, SHAPE = (2, 5), (40, 30)
SEEDED = {
    "Philox": Philox,
    "torch": TorchStream,
    "torch in float64": lambda seed: TorchStream(seed, torch.float64),
    "torch behind a prompt": lambda seed: TorchStream(seed, before=7),
}
KINDS = ("uniform", "normal", "exponential")


@pytest.fixture(params=SEEDED)
def make(request: pytest.FixtureRequest) -> object:
    return SEEDED[request.param]


def draws(stream: Stream, at: tuple[int, int] = AT) -> list[Tensor]:
    """One draw of each kind, each for another purpose."""
    return [
        *(getattr(stream, kind)(p, at, SHAPE) for kind, p in zip(KINDS, Purpose, strict=False)),
        stream.integers(Purpose.GUMBEL, at, SHAPE, high=1000),
    ]


def test_draws_have_their_shape_type_and_range(make) -> None:
    uniform, normal, exponential, integers = draws(make(3))
    assert {one.shape for one in (uniform, normal, exponential, integers)} == {SHAPE}
    assert {one.dtype for one in (uniform, normal, exponential)} == {torch.float64}
    assert ((uniform > 0) & (uniform < 1)).all()
    assert (exponential > 0).all()
    assert (integers.dtype, bool(((integers >= 0) & (integers < 1000)).all())) == (
        torch.int64,
        True,
    )


def test_draws_are_of_their_distribution(make) -> None:
    uniform, normal, exponential, integers = (one.double() for one in draws(make(3)))
    error = 5 / uniform.numel() ** 0.5
    assert abs(uniform.mean() - 1 / 2) < error
    assert abs(normal.mean()) < error
    assert abs(normal.std() - 1) < error
    assert abs(exponential.mean() - 1) < error
    assert abs(integers.mean() / 1000 - 1 / 2) < error


def test_the_same_draws_in_the_same_order_give_the_same_numbers(make) -> None:
    for one, again in zip(draws(make(3)), draws(make(3)), strict=True):
        assert torch.equal(one, again)


def test_other_seeds_and_moments_give_other_numbers(make) -> None:
    stream = make(3)
    here, later, other = draws(stream), draws(stream, (2, 6)), draws(make(4))
    for one, *others in zip(here, later, other, strict=True):
        assert all((one == another).double().mean() < 0.01 for another in others)


def test_a_named_draw_depends_on_its_name_alone() -> None:
    stream = Philox(3)
    first = draws(stream)
    draws(stream, (0, 0))
    for one, again in zip(first, draws(stream), strict=True):
        assert torch.equal(one, again)
    small = stream.uniform(Purpose.GUMBEL, AT, (3, 7))
    assert torch.equal(stream.uniform(Purpose.GUMBEL, AT, SHAPE)[:3, :7], small)
    kinds = [stream.uniform(purpose, AT, SHAPE) for purpose in Purpose]
    assert len({one.flatten()[0].item() for one in kinds}) == len(Purpose)


def test_a_recorded_draw_comes_in_order_and_only_where_it_fits() -> None:
    record = [torch.full((2, 3), float(n)) for n in range(3)]
    stream = Recorded(record)
    for n in range(2):
        assert (stream.normal(Purpose.DENSE_NORMALS, (0, n), (2, 3)) == n).all()
    with pytest.raises(ValueError, match=r"shape \(2, 4\) next in the record, found \(2, 3\)"):
        stream.normal(Purpose.DENSE_NORMALS, (0, 2), (2, 4))
    with pytest.raises(ValueError, match="found none"):
        stream.normal(Purpose.DENSE_NORMALS, (0, 3), (2, 3))


def test_torch_draws_what_its_own_functions_draw() -> None:
    stream = TorchStream(3, before=2)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ids = torch.randint(0, 300, (1, 10))
        p = torch.rand(10, 300)
        drawn = torch.multinomial(p, 1)
    assert torch.equal(stream.integers(Purpose.NOISE_IDS, AT, (8, 1), high=300)[:, 0], ids[0, 2:])
    assert torch.equal(stream.uniform(Purpose.GUMBEL, AT, (8, 300)), p[2:].double())
    exponentials = stream.exponential(Purpose.GUMBEL, AT, (8, 300))
    assert torch.equal((p[2:] / exponentials).argmax(-1), drawn[2:, 0])
