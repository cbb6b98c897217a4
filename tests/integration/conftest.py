"""One tiny run, played to its end once, that the commands on finished runs are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import build
from tests.integration.tiny import tiny_config


@pytest.fixture(scope="session")
def finished_run(output: Path) -> Path:
    """The run folder of a tiny run with MLflow beside its output; treat it as read-only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder, _ = build.run(
            tiny_config(
                str(output),
                name="finished",
                loop={"rounds": 1},
                classifier={"steps": 30},
                tracking={"kind": "mlflow"},
            )
        )
    return folder.path
