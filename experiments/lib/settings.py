"""Development of a study: settings played on val, with the test part sealed, each kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from engine import build
from engine.config import Config
from engine.errors import ConfigError
from engine.execution.progress import RichListener
from engine.store.files import write_json
from experiments.lib import keeping
from experiments.lib.keeping import provenance, read_result, require_same, this_command

FIGURES: Final = ("malignant.auc", "nll", "malignant.sensitivity", "balanced_accuracy")
"""Figures of val that are kept, one value per classifier seed."""
Read = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From report.json to what is kept of a setting."""


def develop(
    config_path: Path,
    number: int,
    settings: Mapping[str, Sequence[str]],
    names: Sequence[str],
    overrides: Sequence[str],
    folder: Path,
    read: Read,
) -> Path:
    """Play settings on training set ``number`` and keep each one's figures of val in ``development_<number>.json``.

    Args:
        config_path: what all settings have in common.
        number: the training set.
        settings: every setting's name and the keys in which it differs.
        names: those to play; what is kept already is not played again.
        overrides: further keys of all settings.
        folder: where the file is kept.
        read: what is kept of a report.

    Raises:
        ConfigError: the test part is not sealed, or the file holds settings of another config.
    """
    path = folder / f"development_{number}.json"
    common = [*overrides, f"data.split.train_sets.use=[{number}]"]
    base = build.load(config_path, common)
    if base.data.split.seal != "test":
        raise ConfigError("data.split.seal: must be test while settings are chosen; remove the override")
    known = (
        read_result(path)
        if path.exists()
        else {**provenance(this_command(), base), "set": number, "settings": {}}
    )
    require_same(known["config"], keeping.public_config(base), path.name, "move it away, or use its config")
    for place, name in enumerate(settings):
        if name not in names or name in known["settings"]:
            continue
        config = build.load(config_path, [*common, *settings[name]])
        report = played(config, f"{config.name}-set-{number}-{place:02d}")
        known["settings"][name] = {**provenance(this_command()), "arms": read(report)}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
    return path


def played(config: Config, name: str) -> Mapping[str, Any]:
    """Play a config under another name, or resume it; return its report."""
    _, report = build.run(config.model_copy(update={"name": name}), listener=RichListener(Console()))
    return report


def kept(folder: Path) -> list[dict[str, Any]]:
    """Return every set's file of ``develop`` (ConfigError: there is none, or they are of different configs)."""
    files = [read_result(path) for path in sorted(folder.glob("development_*.json"))]
    if not files:
        raise ConfigError(f"{folder}: holds no development_K.json; run develop first")
    for file in files:
        require_same(files[0]["config"], file["config"], f"set {file['set']}", "run it again")
    return files


def on_val(entry: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the figures of val of one (round, arm), per classifier seed."""
    return {name: entry["seeds"]["val"][name]["values"] for name in FIGURES}
