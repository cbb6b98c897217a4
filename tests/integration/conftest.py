"""One tiny run, played to its end once, that the commands on finished runs are tried on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine import build
from tests.conftest import once
from tests.integration.tiny import SOFT, labels_config, tiny_config
from tests.s3_server import bucket, proxy, s3_server

__all__ = ["bucket", "proxy", "s3_server"]


@pytest.fixture(scope="session")
def finished_run(output: Path, mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny run with MLflow beside its output; treat it as read-only.

    The run is played once for all pytest processes. Each has its own copy: a command may write report.html again.
    """
    config = tiny_config(
        str(output),
        name="finished",
        loop={"rounds": 1},
        classifier={"steps": 30},
        tracking={"kind": "mlflow"},
    )

    def play() -> None:
        output.mkdir(parents=True, exist_ok=True)
        if not (database := output.parent / "mlflow.db").exists():
            shutil.copy(mlflow_tables, database)
        build.run(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        played = once(output / "finished", play)
    return copy_of(played, tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="session")
def soft_run(output: Path) -> Path:
    """The run folder of two rounds with soft labels, hard cases mined out of fold; treat it as read-only."""
    config = labels_config(str(output), "labels_soft", **SOFT)
    return once(output / "labels_soft", lambda: build.run(config))


def copy_of(run: Path, folder: Path) -> Path:
    """Copy a run and its MLflow store below ``folder``; what reads stages finds those of the run."""
    copied = folder / "runs" / run.name
    shutil.copytree(run, copied)
    (folder / "runs" / "stages").symlink_to(run.parent / "stages")
    shutil.copy(run.parent.parent / "mlflow.db", folder / "mlflow.db")
    return copied
