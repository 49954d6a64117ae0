"""The contract and the code name the same things, and importing the wire is light."""

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from common.collaboration.contribution import Codec
from common.collaboration.settings import LateRule, SessionSettings
from common.denoising.plan import FinishReason
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.settings import NoiseKind, Projection, SelfConditioning
from common.wire import contribution as wire_contribution
from common.wire import conversions as wire
from common.wire import frames
from common.wire import session as wire_session
from common.wire import terms as wire_terms
from common.wire.frames import (
    Role,
)


@pytest.mark.parametrize(
    ("kind", "table", "descriptor"),
    [
        (Role, wire_session._ROLES, pb.Role),
        (LateRule, wire_terms._LATE_RULES, pb.LateRule),
        (Codec, wire_contribution.CODECS, pb.Codec),
        (NoiseKind, wire_terms._NOISE_FORMS, pb.NoiseForm),
        (SelfConditioning, wire_terms._SELF_CONDITIONINGS, pb.SelfConditioning),
        (Projection, wire_terms._PROJECTIONS, pb.Projection),
        (FinishReason, wire._FINISH_REASONS, pb.FinishReason),
    ],
)
def test_enums_are_complete(kind: Any, table: Any, descriptor: Any) -> None:
    numbers = {value.name: value.number for value in descriptor.DESCRIPTOR.values}
    prefix = next(name for name, number in numbers.items() if number == 0)
    prefix = prefix.removesuffix("UNSPECIFIED")
    assert table == {
        kind[name.removeprefix(prefix)]: number for name, number in numbers.items() if number
    }


def test_limits_name_the_same_fields_everywhere() -> None:
    assert {f.name for f in fields(frames.Limits)} == set(pb.Limits.DESCRIPTOR.fields_by_name)
    assert {f.name for f in fields(SessionSettings)} == set(pb.Settings.DESCRIPTOR.fields_by_name)


def test_importing_it_is_light() -> None:
    code = "import sys, common.wire.conversions; print({'grpc', 'torch'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
