"""Registers the champion: what ``mlflow.pytorch.log_model`` does, in two halves.

The export (torch) is done by the loop's own thread, the upload by the sender's: torch's global random state is the
process's, and a model built beside a running training would change its results.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.artifacts.run_layout import arm_label
from engine.tracking.arm_model import upload
from engine.tracking.outbox import FOLDER
from engine.tracking.run_log import RunLog, within
from engine.tracking.sender import RefusedError

ALIAS = "champion"


def register(
    log: RunLog, *, champion: Mapping[str, Any], digest: str, model: str, final: bool = False
) -> None:
    """Upload the model exported to ``model`` (relative to the run), register it, move the alias where it should.

    ``digest`` names these weights: a champion that was registered before is not uploaded again. ``final`` says that
    the run has ended with this champion.

    Raises:
        RefusedError: the parent run or the exported model is not there.
    """
    _, parent_id = log.parent()
    done = dict(log.state().get("champions", {}).get(digest, {}))
    folder = within(log.run_folder, model)
    if folder.parent != log.run_folder / FOLDER or not folder.name.startswith("model-"):
        raise RefusedError(f"{model} is no exported model")
    if "model_id" not in done:
        if not (folder / "MLmodel").is_file():
            raise RefusedError(f"{folder}: the exported model is gone")
        done["model_id"] = _logged_model(log, champion, digest, folder)
        _remember(log, digest, done)
    version = _version(log, champion, done["model_id"], parent_id)
    if moves_alias(dict(version.tags), _holder(log), final=final):
        log.client.set_registered_model_alias(log.experiment, ALIAS, version.version)
    _remember(log, digest, {**done, "version": str(version.version)})
    shutil.rmtree(folder, ignore_errors=True)


def moves_alias(new: Mapping[str, str], holder: Mapping[str, str] | None, *, final: bool) -> bool:
    """Whether the alias goes to a version tagged ``new``, from one tagged ``holder`` (None: nobody has it).

    It moves when both were judged by the same val figure on the same split and the new one is higher. When a run has
    ended, champion.json decides among its own versions. A resumed run that crowns its early rounds again, or another
    run on other lesions, moves nothing.
    """
    if holder is None:
        return True
    if final and holder.get("hardcase.run") == new.get("hardcase.run"):
        return True
    same = all(holder.get(k) == new.get(k) for k in ("val_metric", "split_digest"))
    try:
        return same and float(new["val_value"]) > float(holder["val_value"])
    except (KeyError, ValueError):
        return False


def _remember(log: RunLog, digest: str, done: Mapping[str, str]) -> None:
    log.remember(champions={**log.state().get("champions", {}), digest: dict(done)})


def _logged_model(log: RunLog, champion: Mapping[str, Any], digest: str, folder: Path) -> str:
    """Upload the files to the logged model of this (round, arm); an upload that was cut short is done again."""
    parent_id = log.parent()[1]
    number, arm = int(champion["round"]), str(champion["arm"])
    source = log.state()["rounds"].get(arm_label(number, arm), {}).get("run_id", parent_id)
    created = log.logged_model(number, arm, digest.rpartition("/")[2], source)
    _stamp(folder / "MLmodel", created, source)
    upload(log.client, created, str(folder))
    return str(created.model_id)


def _stamp(path: Path, created: Any, run_id: str) -> None:
    """Write into the exported MLmodel file where it is logged, as ``log_model`` would have."""
    import yaml

    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    tree |= {
        "artifact_path": created.artifact_location,
        "model_id": created.model_id,
        "model_uuid": created.model_id,
        "run_id": run_id,
    }
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


def _version(log: RunLog, champion: Mapping[str, Any], model_id: str, run_id: str) -> Any:
    """Return this champion's version, registering it where that was not done yet."""
    _require_registered(log)
    for version in log.client.search_model_versions(f"run_id = '{run_id}'"):
        if version.name == log.experiment and version.tags.get("hardcase.model_id") == model_id:
            return version
    tags = {
        "hardcase.run": log.state()["run_key"],
        "hardcase.model_id": model_id,
        "round": str(champion["round"]),
        "arm": str(champion["arm"]),
        "val_metric": str(champion.get("metric", "")),
        "val_value": str(champion.get("value", "")),
        "split_digest": str(log.state().get("dataset", "")),
    }
    location = log.client.get_logged_model(model_id).artifact_location
    return log.client.create_model_version(
        log.experiment, source=location, run_id=run_id, model_id=model_id, tags=tags
    )


def _require_registered(log: RunLog) -> None:
    """Register the model's name where that was not done yet. A name with quotes cannot be searched for."""
    from mlflow.exceptions import MlflowException

    try:
        log.client.create_registered_model(log.experiment)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _holder(log: RunLog) -> dict[str, str] | None:
    """Tags of the version that has the alias now, None where nobody has it."""
    aliases = log.client.get_registered_model(log.experiment).aliases
    if ALIAS not in aliases:
        return None
    return dict(log.client.get_model_version(log.experiment, str(aliases[ALIAS])).tags)
