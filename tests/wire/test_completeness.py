"""The contract and the code name the same things, and importing the wire is light."""

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from common.collaboration.settings import ContributorSettings, Limits, SessionSettings
from common.collaboration.timing import Every
from common.denoising.settings import settings_of
from common.pb import collaboration_pb2 as pb
from common.processes.masked.settings import MaskedProcess, MaskedSettings
from common.processes.simplex.settings import SimplexProcess, SimplexSettings
from common.text.summary import VocabularySummary
from common.wire.settings import ENUMS


@pytest.mark.parametrize("descriptor", pb.DESCRIPTOR.enum_types_by_name.values())
def test_enums_are_complete(descriptor: Any) -> None:
    numbers = {value.name: value.number for value in descriptor.values}
    prefix = next(name for name, number in numbers.items() if number == 0)
    prefix = prefix.removesuffix("UNSPECIFIED")
    named = {name.removeprefix(prefix): number for name, number in numbers.items() if number}
    tables = [{one.name: number for one, number in table.items()} for table in ENUMS.values()]
    assert named in tables
    assert len(ENUMS) == len(pb.DESCRIPTOR.enum_types_by_name)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Limits, pb.Limits),
        (ContributorSettings, pb.ContributorSettings),
        (Every, pb.Every),
        (SimplexSettings, pb.SimplexSettings),
        (MaskedSettings, pb.MaskedSettings),
        (SimplexProcess, pb.SimplexProcess),
        (MaskedProcess, pb.MaskedProcess),
    ],
)
def test_settings_name_the_same_fields_everywhere(kind: Any, message: Any) -> None:
    assert {f.name for f in fields(kind)} == set(message.DESCRIPTOR.fields_by_name)


def test_a_sessions_settings_hold_those_of_one_process() -> None:
    descriptor = pb.Settings.DESCRIPTOR
    own = {f.name for f in descriptor.oneofs_by_name["process"].fields}
    assert own == {"simplex", "masked"}
    assert {f.name for f, _ in settings_of(SessionSettings)} | own == set(descriptor.fields_by_name)


def test_samples_of_a_vocabulary_stay_at_home() -> None:
    named = {f.name for f in fields(VocabularySummary) if f.compare}
    assert named == set(pb.VocabularySummary.DESCRIPTOR.fields_by_name)


def test_importing_it_is_light() -> None:
    code = "import sys, common.wire.conversions; print({'grpc', 'torch'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
