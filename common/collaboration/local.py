"""The in-process driver: Goliath and its Davids in one process, through the codec of the wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from common.collaboration.contributor import Contributor
from common.collaboration.fusion import Voice, fuse
from common.diffusion.denoise import Plan, Predict, Result, denoise
from common.diffusion.model import SimplexDiffusionLM
from common.diffusion.predict import predict


@dataclass(frozen=True, slots=True)
class LocalDavid:
    """A contributor in this process, and its weight."""

    contributor: Contributor
    weight: float


def run_local(
    plan: Plan,
    model: SimplexDiffusionLM,
    davids: Mapping[str, LocalDavid],
    on_step: Callable[[Predict], None] = lambda _: None,
) -> Result:
    """Generate with the large model and the Davids, by contributor id; `on_step` sees each state as
    it begins.
    """
    loop = denoise(plan, fuse)
    request = next(loop)
    voices: list[Voice] = []
    try:
        while True:
            if isinstance(request, Predict):
                on_step(request)
                voices = [
                    Voice(
                        name,
                        david.weight,
                        david.contributor.contribute(request.state, request.finished),
                    )
                    for name, david in davids.items()
                ]
                request = loop.send(predict(model, [request]))
            else:
                request = loop.send(voices)
    except StopIteration as done:
        result: Result = done.value
        return result
