"""The training loop: times where the loss falls, self-conditioning in half of the steps, exact
resume after a kill.

Every random choice of step n is a function of (seed, n), so a checkpoint needs no generator state.
Sources: SSD-LM section 3.3 (loss), Analog Bits (self-conditioning), CDCD section 4.2 (times).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.denoising.streams import Words
from common.errors import BadDataError
from common.models.simplex_network import SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.settings import Reading, SelfConditioning
from common.processes.simplex.state import Bag
from common.text.wordpiece import WordPieceVocabulary
from common.training import checkpoints
from common.training.denoising import loss_curve, noisy, predict
from common.training.examples import (
    Batch,
    Crop,
    Record,
    collate,
    epoch_batches,
    without_context,
)
from common.training.times import draw_times

CURVE_TIMES = (0.05, 0.12, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0)
OLDER_BY = 0.15
"""A separate earlier state for self-conditioning is at most this much noisier (time)."""
CERTAIN_TO = 0.12
"""Up to this time the state's likelihood decides, with the reading posterior (by 50 nats at t =
.12): there is nothing to learn.
"""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Settings of a run; times are in steps."""

    steps: int = 5000
    """Optimiser steps in all."""
    batch_size: int = 24
    """Blocks a step."""
    learning_rate: float = 4e-4
    """Peak, reached after the warm-up."""
    warmup: int = 200
    """Steps of linear warm-up."""
    decay_share: float = 0.25
    """Last share of the steps, over which the rate falls linearly to a twentieth."""
    weight_decay: float = 0.01
    """AdamW's, on matrices only."""
    clip: float = 1.0
    """Largest gradient norm."""
    mixed: float = 0.5
    """Share of rows whose positions have times of their own, in no order."""
    ramped: float = 0.2
    """Share of rows whose times rise from the first position to the last, as in a session with a
    ramp.
    """
    conditioned: float = 0.5
    """Share of steps with self-conditioning."""
    weight: float = 0.75
    """Share in the fused logits, of a model that is trained beside a large one."""
    alone: float = 0.1
    """What its own loss counts then, beside that of the fused logits."""
    fused: float = 0.5
    """Share of the self-conditioned steps beside a large model in which both models see the fused
    prediction, as in a session with the self-conditioning `fused`, and not each its own.
    """
    average: float = 0.999
    """Decay a step of the moving average of the weights, which is what is measured and exported."""
    seed: int = 0
    """Of every random choice."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Passes an epoch makes over each source."""
    evaluate_every: int = 500
    """Steps between held-out curves."""
    save_every: int = 250
    """Steps between checkpoints."""
    held_out: int = 48
    """Blocks that the held-out curve is measured on."""

    def rate(self, step: int) -> float:
        """Learning rate at a step: warm-up, constant, linear decay."""
        decay = max(1, int(self.steps * self.decay_share))
        left = (self.steps - step) / decay
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, max(0.05, left))


@dataclass(frozen=True, slots=True)
class Progress:
    """One step as it is reported and written to the metrics file."""

    step: int
    loss: float
    rate: float
    tokens: int
    seconds: float
    curve: list[tuple[float, float]] | None = None


def native_bf16(device: torch.device) -> bool:
    """Whether bf16 products are faster than fp32 here; without the instructions they are several
    times slower.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Trainer:
    """State of a run; `step()` is one optimiser step."""

    def __init__(
        self,
        model: SimplexDiffusionLM,
        vocabulary: WordPieceVocabulary,
        config: TrainingConfig,
        *,
        records: Sequence[Record],
        held_out: Sequence[Record],
        folder: Path,
        beside: SimplexDiffusionLM | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Prepare the run in `folder`; continues from its newest checkpoint when there is one.

        Args:
            model: what is trained.
            vocabulary: its vocabulary.
            config: settings of the run.
            records: what it is trained on.
            held_out: what the held-out curve is measured on.
            folder: of checkpoints and metrics.
            beside: a large model that it shall help, which stays as it is: the loss is that of
                their fused logits, as in a session, where the large model sees no context. Trained
                alone, a small model learns again what the large one knows.
            clock: tells the seconds.

        Raises:
            BadDataError: no held-out record makes an example.
            BadModelError: the newest checkpoint is damaged, or of a model of another shape.
        """
        self.model, self.vocabulary, self.config, self.folder = (
            model.train(),
            vocabulary,
            config,
            folder,
        )
        self._records, self._clock = records, clock
        self._beside = None if beside is None else beside.eval()
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        self.seconds = 0.0
        self.steps_done = 0
        self._epoch: tuple[int, list[list[Crop]]] = (-1, [])
        self._first_step_of_epoch = 0
        self._held_out = self._fixed_batches(held_out)
        self._autocast = native_bf16(model.device)
        state = checkpoints.newest(folder)
        if state is not None:
            self._resume(state)
        checkpoints.forget_metrics_after(folder, self.steps_done)
        self._average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        self.averaged.config = model.config  # its own copy would miss the measured curve
        if state is not None:
            checkpoints.load_average(state, self.averaged)
            self._average.n_averaged.fill_(self.steps_done)

    @property
    def averaged(self) -> SimplexDiffusionLM:
        """The model with the moving average of the weights."""
        return cast(SimplexDiffusionLM, self._average.module)

    def _fixed_batches(self, records: Sequence[Record]) -> list[Batch]:
        """The held-out blocks, whole ones; one by one, of any length, where they are too few."""
        length, kept = self.model.config.block_length, self.config.held_out
        many = self._batches(records, self.config.batch_size, {}, seed=17, epoch=0)
        whole = [crops for crops in many if len(crops[0].target) == length]
        few = whole or self._batches(records, 1, {}, seed=17, epoch=0)
        if not few:
            raise BadDataError(
                "expected held-out records that make examples, got none",
                remedy="Give some whose prompt and context are shorter",
            )
        size = len(few[0])
        return [collate(crops, self.vocabulary) for crops in few[: max(1, kept // size)]]

    def _resume(self, path: Path) -> None:
        meta = checkpoints.load(path, self.model, self.optimizer)
        self.steps_done, self.seconds = meta["step"], meta["seconds"]
        self._first_step_of_epoch = meta["first_step_of_epoch"]
        self._epoch = (meta["epoch"], self._plan(meta["epoch"]))
        self.model.config.loss_curve = meta["loss_curve"]

    def _plan(self, epoch: int) -> list[list[Crop]]:
        size, shares = self.config.batch_size, self.config.shares
        batches = self._batches(self._records, size, shares, seed=self.config.seed, epoch=epoch)
        if not batches:
            raise BadDataError(
                f"expected {size} examples for a batch, got fewer",
                remedy="Give more records, larger shares, or a smaller --batch",
            )
        return batches

    def _batches(
        self,
        records: Sequence[Record],
        size: int,
        shares: Mapping[str, float],
        *,
        seed: int,
        epoch: int,
    ) -> list[list[Crop]]:
        return epoch_batches(
            records,
            self.vocabulary,
            shares=shares,
            block_length=self.model.config.block_length,
            batch_size=size,
            seed=seed,
            epoch=epoch,
        )

    def _next_crops(self) -> list[Crop]:
        index = self.steps_done - self._first_step_of_epoch
        if self._epoch[0] < 0 or index >= len(self._epoch[1]):
            self._epoch = (self._epoch[0] + 1, self._plan(self._epoch[0] + 1))
            self._first_step_of_epoch, index = self.steps_done, 0
        return self._epoch[1][index]

    def step(self) -> Progress:
        """One optimiser step, and what is due after it (held-out curve, checkpoint)."""
        began = self._clock()
        config, n = self.config, self.steps_done
        crops = self._next_crops()
        batch = self._batch(crops)
        rng = np.random.default_rng([config.seed, 1, n])
        torch.manual_seed(
            int(rng.integers(2**62))
        )  # dropout is torch's; everything else is passed in
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(n)
        loss = self._loss(batch, crops, rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self._average.update_parameters(self.model)
        self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        curve = self._measure() if self._due(config.evaluate_every) else None
        self.seconds += self._clock() - began
        tokens = int(batch.scored.sum())
        progress = Progress(
            self.steps_done, loss.item(), config.rate(n), tokens, self.seconds, curve
        )
        checkpoints.append_metrics(self.folder, asdict(progress))
        if self._due(config.save_every):
            self.save()
        return progress

    def _due(self, every: int) -> bool:
        return self.steps_done % every == 0 or self.steps_done == self.config.steps

    def _measure(self) -> list[tuple[float, float]]:
        curve = loss_curve(self.averaged, self._held_out, CURVE_TIMES, seed=23)
        self.model.config.loss_curve = [list(point) for point in curve]
        return curve

    def _batch(self, crops: Sequence[Crop]) -> Batch:
        return collate(crops, self.vocabulary)

    def _loss(self, batch: Batch, crops: Sequence[Crop], rng: np.random.Generator) -> Tensor:
        rows = len(batch.target)
        times = draw_times(
            batch.target.shape,
            self.model.config.warp,
            mixed=self.config.mixed,
            ramped=self.config.ramped,
            rng=rng,
        )
        t = torch.from_numpy(times).clamp(min=1e-3)
        scored = batch.scored
        if self.model.config.reading == Reading.POSTERIOR:
            uncertain = scored & (t > CERTAIN_TO)
            scored = uncertain if uncertain.any() else scored
        seeds = [int(s) for s in rng.integers(2**63, size=rows)]
        seen = [(self.model, batch)]
        if self._beside is not None:
            public = [without_context(crop, self.vocabulary) for crop in crops]
            seen.append((self._beside, collate(public, self.vocabulary)))
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self._autocast):
            conditions = self._conditions(seen, t, seeds, rng)
            logits, *core = (
                self._forward(model, part, t, condition, seeds, positions=scored)
                for (model, part), condition in zip(seen, conditions, strict=True)
            )
        target = batch.target[scored]
        loss = torch.nn.functional.cross_entropy(logits, target)
        if not core:
            return loss
        fused = torch.lerp(core[0], logits, self.config.weight)
        return torch.nn.functional.cross_entropy(fused, target) + self.config.alone * loss

    def _forward(
        self,
        model: SimplexDiffusionLM,
        batch: Batch,
        t: Tensor,
        condition: Bag | None,
        seeds: list[int],
        *,
        step: int = 0,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Logits of `predict` at the noise of a step, with gradients where it is the model that
        learns.
        """
        rows = len(seeds)
        stream = Words(seeds, [0] * rows, [step] * rows, batch.target.device)
        simplex = noisy(model, batch, stream, t)
        with torch.set_grad_enabled(torch.is_grad_enabled() and model is self.model):
            return predict(model, batch, simplex, t, condition, positions)

    @torch.no_grad()
    def _conditions(
        self,
        seen: Sequence[tuple[SimplexDiffusionLM, Batch]],
        t: Tensor,
        seeds: list[int],
        rng: np.random.Generator,
    ) -> Sequence[Bag | None]:
        """What each model with its batch is conditioned on: nothing in some steps; else the model's
        own prediction or, of two, both on the fused one; at the same state or an earlier one.
        """
        if rng.random() >= self.config.conditioned:
            return [None] * len(seen)
        earlier = rng.random() < 0.5
        older = torch.from_numpy(rng.random((len(t), 1)) * OLDER_BY)
        before = (t + older).clamp(max=1.0) if earlier else t
        first = [
            self._forward(model, part, before, None, seeds, step=int(earlier))
            for model, part in seen
        ]
        if len(seen) > 1 and rng.random() < self.config.fused:
            fused = torch.lerp(first[1], first[0], self.config.weight)
            return [self._condition(self.model, fused, rng)] * 2
        return [
            self._condition(model, logits, rng)
            for (model, _), logits in zip(seen, first, strict=True)
        ]

    @staticmethod
    def _condition(model: SimplexDiffusionLM, logits: Tensor, rng: np.random.Generator) -> Bag:
        if model.config.self_conditioning == SelfConditioning.ESTIMATE:
            draws = torch.from_numpy(rng.gumbel(size=logits.shape).astype(np.float32))
            return conditioning.from_estimate((logits + draws).argmax(-1, keepdim=True))
        return conditioning.from_logits(logits)

    def save(self) -> Path:
        """Write a checkpoint; an interrupted write leaves the older one in place.

        Raises:
            UsageError, BadFileError: it cannot be written.
        """
        meta = {
            "step": self.steps_done,
            "seconds": self.seconds,
            "epoch": self._epoch[0],
            "first_step_of_epoch": self._first_step_of_epoch,
            "loss_curve": self.model.config.loss_curve,
            "config": json.loads(json.dumps(asdict(self.config))),
        }
        return checkpoints.save(
            self.folder, self.model, self.averaged, self.optimizer, self.vocabulary, meta
        )
