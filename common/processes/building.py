"""From agreed settings to a process: the one place that knows all of them."""

from common.denoising.halting import HaltRule
from common.denoising.process import Process
from common.processes.masked.process import Masked
from common.processes.masked.settings import MaskedProcess, MaskedSettings
from common.processes.simplex.process import Simplex
from common.processes.simplex.settings import SimplexProcess, SimplexSettings


def build(
    facts: SimplexProcess | MaskedProcess,
    settings: SimplexSettings | MaskedSettings,
    *,
    block_length: int,
    steps: int,
    times: tuple[float, ...],
    seed: int,
    end: int,
    halting_steps: frozenset[int] | None = None,
) -> Process:
    """The process of a session.

    Args:
        facts: what the models of the session were trained for.
        settings: the process's own settings.
        block_length: positions of a block.
        steps: most steps of a block.
        times: the time of each step, 1 first, falling; none where the process knows no times.
        seed: seed of all noise, uint64.
        end: first of the ids that end an answer.
        halting_steps: steps at which a block may end early; None for all.
    """
    if isinstance(settings, MaskedSettings):
        return Masked(
            block_length,
            steps,
            settings.order,
            settings.temperature,
            settings.threshold,
            grid=isinstance(facts, MaskedProcess) and facts.grid,
        )
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
