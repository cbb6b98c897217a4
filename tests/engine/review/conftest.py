"""One run with questions and a sheet for all tests of the page; each gets a copy to answer in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.engine.review.reviewable import make_run, photographs


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder with 8 questions and a sheet of 4; read-only."""
    folder = tmp_path_factory.mktemp("reviewable")
    return make_run(folder / "runs", photographs(folder / "data"), samples=4)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, with its stages."""
    shutil.copytree(made.parent, tmp_path / "runs")
    return tmp_path / "runs" / made.name
