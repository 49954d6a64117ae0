"""From agreed settings to a process: the one place that knows all of them."""

from common.denoising.halting import HaltRule
from common.denoising.process import Process
from common.processes.masked.settings import MaskedSettings
from common.processes.simplex.process import Simplex
from common.processes.simplex.settings import SimplexSettings


def build(
    settings: SimplexSettings | MaskedSettings,
    *,
    block_length: int,
    times: tuple[float, ...],
    seed: int,
    end: int,
    halting_steps: frozenset[int] | None = None,
) -> Process:
    """The process of a session.

    Args:
        settings: the process's own settings.
        block_length: positions of a block.
        times: the time of each step, 1 first, falling.
        seed: seed of all noise, uint64.
        end: first of the ids that end an answer.
        halting_steps: steps at which a block may end early; None for all.
    """
    if isinstance(settings, MaskedSettings):
        raise AssertionError("masked diffusion follows")
    return Simplex(
        times=times,
        block_length=block_length,
        seed=seed,
        temperature=settings.temperature,
        min_p=settings.min_p,
        self_conditioning=settings.self_conditioning,
        projection=settings.projection,
        halting=HaltRule(settings.halt_patience, settings.halt_margin),
        halting_steps=halting_steps,
        ramp=settings.ramp,
        top_p=settings.top_p,
        no_repeat=settings.no_repeat,
        end=end,
    )
