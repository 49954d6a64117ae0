"""What a model brings to a session, and whether two models fit together."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from common.collaboration.contribution import Codec
from common.errors import ProcessMismatchError, VocabularyMismatchError
from common.processes.simplex.terms import SelfConditioning
from common.wire.frames import LateRule, NoiseKind, SessionSettings, SimplexProcess

if TYPE_CHECKING:
    from common.models.simplex_lm import SimplexDiffusionConfig, SimplexDiffusionLM

DEFAULT_STEPS = 32
DEFAULT_TEMPERATURE = 0.7
DEFAULT_MIN_P = 0.005
DEFAULT_TOP_P = 0.9
DEFAULT_WEIGHT = 0.75
DEFAULT_NO_REPEAT = 2
DEFAULT_BUDGET_MS = 10_000


def config_of(model: SimplexDiffusionLM) -> SimplexDiffusionConfig:
    """A model's configuration by its own type; transformers knows only the general one."""
    return cast("SimplexDiffusionConfig", model.config)


def process_of(config: SimplexDiffusionConfig) -> SimplexProcess:
    """The diffusion process that a model was trained for, as the wire names it."""
    form = config.form.for_vocabulary(config.vocab_size)
    kind = NoiseKind(form.name)
    extremes = kind is NoiseKind.EXTREMES
    return SimplexProcess(
        k=float(config.simplex_value),
        schedule=config.schedule,
        noise_form=kind,
        extremes_draws=form.m if extremes else 0,
        extremes_rows=form.r if extremes else 0,
    )


def default_settings(config: SimplexDiffusionConfig) -> SessionSettings:
    """The terms that suit a large model where nothing else is wished for; one block, seed 0."""
    return SessionSettings(
        block_length=config.block_length,
        steps=DEFAULT_STEPS,
        max_tokens=config.block_length,
        temperature=DEFAULT_TEMPERATURE,
        min_p=DEFAULT_MIN_P,
        seed=0,
        weight=DEFAULT_WEIGHT,
        late_rule=LateRule.WAIT,
        codec=Codec.TOPK,
        self_conditioning=SelfConditioning(config.self_conditioning),
        budget_ms=DEFAULT_BUDGET_MS,
        top_p=DEFAULT_TOP_P,
        no_repeat=DEFAULT_NO_REPEAT,
    )


def check_vocabulary(goliath: bytes, david: bytes) -> None:
    """Compare the fingerprints of the two vocabularies.

    Raises:
        VocabularyMismatchError: they differ.
    """
    if goliath != david:
        raise VocabularyMismatchError(
            f"vocabulary: Goliath's has the fingerprint {goliath.hex()[:16]}, "
            f"David's {david.hex()[:16]}",
            remedy="Use a David that was trained with the tokenizer.json of this Goliath",
        )


def check_process(goliath: SimplexProcess, david: SimplexProcess) -> None:
    """Compare the diffusion processes of the two models.

    Raises:
        ProcessMismatchError: they differ.
    """
    ours, theirs = asdict(goliath), asdict(david)
    wrong = [name for name in ours if ours[name] != theirs[name]]
    if wrong:
        listed = "; ".join(
            f"{name}: Goliath {_shown(ours[name])}, David {_shown(theirs[name])}" for name in wrong
        )
        raise ProcessMismatchError(
            f"the models were trained for different diffusion processes ({listed})",
            remedy="Use a David that was trained for this Goliath",
        )


def _shown(value: object) -> str:
    return value.value if isinstance(value, NoiseKind) else str(value)
