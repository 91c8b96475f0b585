"""One complete study for all tests of reports; whoever changes it copies it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.heads.report.studies import make_study


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete study; not to be written into."""
    return make_study(tmp_path_factory.mktemp("studies") / "study")


@pytest.fixture
def own_folder(study_folder: Path, tmp_path: Path) -> Path:
    """A copy of the study that a test may change."""
    return Path(shutil.copytree(study_folder, tmp_path / "study"))
