"""What `david doctor` tries beside the settings."""

from collections.abc import Callable

from common import David, Goliath, collaborate
from common.collaboration.compatibility import check_fit, check_process, check_vocabulary
from common.models.registry import LanguageModel, open_model
from common.program.doctor import Doctor
from common.program.interrupt import run_interruptible
from common.wire.frames import ServerInfo
from david_client.conversation import connect, load_david
from david_client.reply import Reply
from david_client.settings import DavidSettings

_TIMEOUT_S = 60.0


def check_pair(checks: Doctor, settings: DavidSettings) -> None:
    """Check the small model, and the large one where it is; each check needs the ones before."""
    david = checks.check("model", lambda: load_david(settings), show=_described)
    if settings.embedded:
        _check_embedded(checks, settings, david)
    else:
        _check_server(checks, settings, david)


def _check_embedded(checks: Doctor, settings: DavidSettings, david: LanguageModel | None) -> None:
    goliath = checks.check(
        "goliath",
        lambda: open_model(settings.goliath_model, dtype=settings.dtype),
        show=lambda found: f"{settings.goliath_model}, embedded, {found.vocabulary.size} pieces",
    )
    if goliath is None or david is None:
        return
    checks.check("fit", lambda: check_fit(goliath, david), show=lambda _: "they fit")
    _check_step(checks, Goliath(goliath), david)


def _check_server(checks: Doctor, settings: DavidSettings, david: LanguageModel | None) -> None:
    from david_client.client import probe

    goliath = checks.check(
        "address", lambda: connect(settings, timeout_s=_TIMEOUT_S), show=_place_shown
    )
    if goliath is None or goliath.place is None:
        return
    probing = probe(goliath.place)
    info = checks.check("server", lambda: run_interruptible(probing), show=_server_shown)
    if info is None or david is None:
        return
    for name, probed in _fits(info, david).items():
        checks.check(name, probed, show=lambda _: "the same")
    _check_step(checks, goliath, david)


def _check_step(checks: Doctor, goliath: Goliath, david: LanguageModel) -> None:
    checks.check(
        "one step",
        lambda: collaborate(goliath, [David(david)], "hello", seed=0, steps=1),
        show=_step_shown,
    )


def _fits(info: ServerInfo, david: LanguageModel) -> dict[str, Callable[[], None]]:
    summary, process = david.vocabulary.summary, david.predictor.process
    return {
        "vocabulary": lambda: check_vocabulary(info.vocabulary, summary),
        "process": lambda: check_process(info.process, process),
    }


def _described(david: LanguageModel) -> str:
    size = david.predictor.parameters / 1e6
    fingerprint = david.vocabulary.summary.fingerprint
    return f"{david.name}, {size:.1f} M parameters, fingerprint {fingerprint}"


def _place_shown(goliath: Goliath) -> str:
    assert goliath.place is not None
    secured = "mutual TLS" if goliath.place.tls is not None else "plain text"
    return f"{goliath.place.address}, {secured}"


def _server_shown(info: ServerInfo) -> str:
    return (
        f"{info.model_name}, software {info.software_version}, protocol {info.protocol_version}, "
        f"fingerprint {info.vocabulary.fingerprint}"
    )


def _step_shown(reply: Reply) -> str:
    return f"{reply.seconds:.2f} s, David took part in {reply.david_steps}"
