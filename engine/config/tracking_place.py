"""Refuses an output beside which MLflow's database could not be addressed, or whose copies a cluster would not see."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.artifacts.secrets import masked
from engine.config.places import is_url

if TYPE_CHECKING:
    from engine.config.schema import Config

READ_OTHERWISE: Final = "?%"
"""Characters that SQLAlchemy reads as something else in the path of ``sqlite:///PATH``."""


def database_problems(config: Config) -> list[str]:
    """Return one message where ``mlflow.db`` would lie in a folder whose name its address cannot hold."""
    if config.tracking.kind != "mlflow" or config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI"):
        return []
    if is_url(config.output):
        return [
            f"tracking.uri: MLflow's database would lie beside the output folder, and {masked(config.output)} is none; "
            "give tracking.uri, MLFLOW_TRACKING_URI or tracking.kind=none"
        ]
    place = Path(config.output).resolve().parent
    signs = [sign for sign in READ_OTHERWISE if sign in str(place)]
    if not signs:
        return []
    return [
        f"output: {place} holds {' and '.join(signs)}, which the address of MLflow's database beside the output folder "
        "cannot; give output=FOLDER elsewhere, tracking.uri, or tracking.kind=none"
    ]


def scratch_problems(config: Config) -> list[str]:
    """Return one message where the nodes of a cluster would look for stages that lie on the driver's disk alone."""
    backend = config.backend
    cluster = backend.kind == "ray" and backend.address is not None
    if not (cluster and is_url(config.output)) or backend.scratch or os.environ.get("HARDCASE_SCRATCH"):
        return []
    return [
        f"backend.scratch: stages of {masked(config.output)} are copied to the driver's disk, where the nodes of "
        f"{masked(str(backend.address))} would not find them; give backend.scratch (or HARDCASE_SCRATCH) on a disk that "
        "every node sees under the same path"
    ]
