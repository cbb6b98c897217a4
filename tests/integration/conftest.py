"""One tiny run, played to its end once, that the commands on finished runs are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import build
from tests.integration.tiny import tiny_config


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny run with MLflow beside its output; treat it as read-only."""
    output = tmp_path_factory.mktemp("finished") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder, _ = build.run(
            tiny_config(
                str(output), loop={"rounds": 1}, classifier={"steps": 30}, tracking={"kind": "mlflow"}
            )
        )
    return folder.path
