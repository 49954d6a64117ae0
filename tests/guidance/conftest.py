"""A guide trained once for all tests of guidance."""

import pytest

from common.guidance.classifier import SimplexClassifier
from common.models import registry
from tests.guidance.trained_guides import Trained


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("guides"))


@pytest.fixture(scope="session")
def classifier(trained: Trained) -> SimplexClassifier:
    return registry.load_as(SimplexClassifier, str(trained.guide.folder))[0]


@pytest.fixture(scope="session")
def judge(trained: Trained) -> SimplexClassifier:
    return registry.load_as(SimplexClassifier, str(trained.judge.folder))[0]
