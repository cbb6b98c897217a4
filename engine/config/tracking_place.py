"""Refuses an output folder beside which MLflow's database could not be addressed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engine.config.schema import Config

READ_OTHERWISE: Final = "?%"
"""Characters that SQLAlchemy reads as something else in the path of ``sqlite:///PATH``."""


def database_problems(config: Config) -> list[str]:
    """Return one message where ``mlflow.db`` would lie in a folder whose name its address cannot hold."""
    if config.tracking.kind != "mlflow" or config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI"):
        return []
    place = Path(config.output).resolve().parent
    signs = [sign for sign in READ_OTHERWISE if sign in str(place)]
    if not signs:
        return []
    return [
        f"output: {place} holds {' and '.join(signs)}, which the address of MLflow's database beside the output folder "
        "cannot; give output=FOLDER elsewhere, tracking.uri, or tracking.kind=none"
    ]
