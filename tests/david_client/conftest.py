"""A trace of two questions."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.david_client.traces import traced
from tests.serving import CONTEXT, question


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "t.jsonl"
    traced(path, question(max_tokens=32, weight=0.5, context=CONTEXT, temperature=1.5))
    return path


@pytest.fixture(scope="module")
def records(trace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
