"""The simplex models that this project trains, as a family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from common.denoising.process import View
from common.models.predictor import Uncached
from common.models.simplex_network import SimplexDiffusionConfig, SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.settings import (
    NoiseKind,
    Reading,
    SelfConditioning,
    SimplexProcess,
    SimplexSettings,
)
from common.processes.simplex.state import Bag, SimplexState, stack_times, states_input


@dataclass(frozen=True, slots=True, eq=False)
class SimplexPredictor(Uncached):
    """A `Predictor` of simplex diffusion."""

    network: SimplexDiffusionLM

    sees_suffix = True

    @property
    def config(self) -> SimplexDiffusionConfig:
        """The network's configuration by its own type; transformers knows only the general one."""
        return cast(SimplexDiffusionConfig, self.network.config)

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.config.vocab_size

    @property
    def max_positions(self) -> int:
        """Longest text, in tokens."""
        return self.config.max_positions

    @property
    def block_length(self) -> int:
        """Positions of a block where nothing else is asked for."""
        return self.config.block_length

    @property
    def process(self) -> SimplexProcess:
        """The diffusion process that the network was trained for."""
        form = self.config.form.for_vocabulary(self.vocabulary_size)
        kind = NoiseKind(form.name)
        extremes = kind is NoiseKind.EXTREMES
        return SimplexProcess(
            k=float(self.config.simplex_value),
            schedule=self.config.schedule,
            noise_form=kind,
            extremes_draws=form.m if extremes else 0,
            extremes_rows=form.r if extremes else 0,
        )

    @property
    def defaults(self) -> SimplexSettings:
        """The settings that suit the network."""
        trained = SelfConditioning(self.config.self_conditioning)
        return SimplexSettings(self_conditioning=trained)

    def times(self, steps: int) -> tuple[float, ...]:
        """The time of each step, where the network's loss says that they are best spent."""
        return self.config.warp.table(steps)

    @torch.inference_mode()
    def predict(self, views: Sequence[View]) -> Sequence[Tensor]:
        """Logits of the open positions of views with one block length, (1, open, V) fp32 each."""
        config, device = self.config, self.device
        states = [cast(SimplexState, view.state) for view in views]
        positions = states[0].positions
        simplex = states_input(
            states,
            form=config.form,
            simplex_value=config.simplex_value,
            vocabulary_size=config.vocab_size,
            reading=Reading(config.reading),
            device=device,
        )
        none = conditioning.nothing(1, positions, device)
        condition = conditioning.stack(
            [none if v.condition is None else _on(v.condition, device) for v in views]
        )
        sizes = [len(v.prefix) + positions + len(v.suffix) for v in views]
        input_ids = torch.zeros(len(views), max(sizes), dtype=torch.int64)
        for row, view in enumerate(views):
            start = len(view.prefix)
            input_ids[row, :start] = torch.tensor(view.prefix)
            after = torch.tensor(view.suffix, dtype=torch.int64)
            input_ids[row, start + positions : sizes[row]] = after
        padded = min(sizes) < max(sizes)
        mask = torch.arange(max(sizes)) < torch.tensor(sizes).unsqueeze(1) if padded else None
        temperatures = [view.temperature for view in views]
        tempered = any(temperature != 1 for temperature in temperatures)
        logits: Tensor = self.network(
            input_ids.to(device),
            torch.tensor([len(v.prefix) for v in views], device=device),
            simplex,
            stack_times(states, device),
            condition,
            None if mask is None else mask.to(device),
            temperature=torch.tensor(temperatures, device=device) if tempered else None,
        ).logits
        return [
            rows if len(view.open) == positions else rows[:, view.open]
            for rows, view in zip(logits.split(1), views, strict=True)
        ]


def _on(bag: Bag, device: torch.device) -> Bag:
    return Bag(bag.ids.to(device), bag.weights.to(device), bag.rest.to(device))
