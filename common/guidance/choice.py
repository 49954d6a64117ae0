"""What a user or an operator chooses of a guide; importing this imports no torch."""

from dataclasses import dataclass

from common.errors import UsageError

DEFAULT_STRENGTH = 500.0
LARGEST_STRENGTH = 2000.0
"""The published experiments go up to it (SSD-LM, section 4.2: 0, 100, 500, 2000)."""


@dataclass(frozen=True, slots=True)
class GuideChoice:
    """A guide, the label that it steers towards, and how hard it pushes."""

    model: str
    """Folder or name of the classifier."""
    label: str
    strength: float
    """Factor of the gradient, 0 to 2000; 0 is unguided."""

    @property
    def acts(self) -> bool:
        """Whether it changes anything."""
        return self.strength > 0


def guide_choice(
    model: str | None, label: str | None, strength: float | None
) -> GuideChoice | None:
    """The choice that three options make together; None for no guide.

    Raises:
        UsageError: one of them lacks another that it needs.
    """
    if model is None:
        for option, value in (("--label", label), ("--strength", strength)):
            if value is not None:
                raise UsageError(
                    f"{option} belongs to a guide, and no guide is given",
                    remedy="Give --guide with a folder that `david train-guide` wrote",
                )
        return None
    if label is None:
        raise UsageError(
            "a guide needs the label that it shall steer towards",
            remedy="Give --label; a wrong one is answered with those that the guide knows",
        )
    return GuideChoice(model, label, DEFAULT_STRENGTH if strength is None else strength)
