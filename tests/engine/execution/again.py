"""A stage of a finished run, called or computed again with the same inputs, into another folder or cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.config import BackendConfig
from engine.execution.backend import StageCall
from engine.execution.progress import QuietListener
from engine.execution.ray_backend import RayBackend
from engine.stages import find
from engine.store import RunFolder, StageCache, StageFolder, StageRunner
from engine.store.files import checksums
from engine.types import Cause


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


def again(run: Path, role: str, root: Path, **backend: Any) -> StageFolder:
    """Compute a stage of the run once more, over Ray, in a cache of its own."""
    source = RunFolder.open(run)
    path = source.stage(role).path
    recipe = json.loads((path / "stage.json").read_text(encoding="utf-8"))
    inputs = {name: _folder(source.cache_root, key) for name, key in recipe["inputs"].items()}
    runner = StageRunner(
        StageCache(root), RayBackend(BackendConfig(kind="ray", **backend)), recipe["threads"], recipe["device"],
        recipe["precision"], QuietListener(),
    )  # fmt: skip
    stage = find(recipe["stage"])
    folder = runner(stage, stage.params.from_json(recipe["params"]), inputs=inputs, seed=recipe["seed"])
    assert folder.key == recipe["key"]
    return folder


def _folder(stages: Path, key: str) -> StageFolder:
    (path,) = stages.glob(f"*-{key}")
    return StageFolder(name=path.name.rpartition("-")[0], key=key, path=path, seconds=0.0, cached=True)


def assert_as_undisturbed(run: Path, role: str, folder: StageFolder, *causes: Cause) -> None:
    assert files(folder.path) == files(RunFolder.open(run).stage(role).path)
    assert [failure.cause for failure in folder.failed] == list(causes)
    left = {path.name for path in folder.path.parent.iterdir() if not path.name.startswith(".")}
    assert left == {folder.path.name}
