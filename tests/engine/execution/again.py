"""A stage of a finished run, called again with the same inputs into another folder."""

from __future__ import annotations

import json
from pathlib import Path

from engine.execution.backend import StageCall
from engine.store import RunFolder
from engine.store.files import checksums


def call_again(run: Path, role: str, out: Path) -> StageCall:
    """Return the call that fills ``out`` as the run's stage was filled, from the same inputs."""
    stages = RunFolder.open(run).cache_root
    recipe = json.loads((stage_folder(run, role) / "stage.json").read_text(encoding="utf-8"))
    fields = ("stage", "params", "seed", "threads", "device", "precision")
    out.mkdir(parents=True)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    checkpoint.mkdir()
    inputs = {name: next(stages.glob(f"*-{key}")) for name, key in recipe["inputs"].items()}
    return StageCall(out=out, checkpoint=checkpoint, inputs=inputs, **{name: recipe[name] for name in fields})


def stage_folder(run: Path, role: str) -> Path:
    return RunFolder.open(run).stage(role).path


def files(folder: Path) -> dict[str, str]:
    """Checksums of what a stage wrote."""
    return {name: digest for name, digest in checksums(folder).items() if name != "stage.json"}
