"""Reads what a run folder keeps of its run, each file checked: the config it was made by, stages, champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.config import Config, parse_config, read_tree
from engine.errors import ConfigError, DataError
from engine.store.files import read_json


def read_config(path: Path) -> Config:
    """Return the config a run was made by (DataError: the file is empty, broken or of another version)."""
    try:
        tree = read_tree(path)
        if tree:
            return parse_config(tree, source=str(path))
    except ConfigError as error:
        raise DataError(
            f"{error}\nthe file was changed or made by another version of hardcase; give another run, or run it again "
            "with name=OTHER"
        ) from None
    raise DataError(f"{path}: is empty; give another run, or remove the folder and run it again")


def read_roles(path: Path) -> dict[str, str]:
    """Return stages.json: {role: stage folder} (DataError: it is broken)."""
    roles = read_json(path)
    if not isinstance(roles, dict) or not all(isinstance(folder, str) for folder in roles.values()):
        raise DataError(f"{path}: holds no stages; remove it and rerun `hardcase run` to write it again")
    return roles


def read_champion(path: Path) -> dict[str, Any]:
    """Return champion.json: {round, arm, metric, value, ...} (DataError: it is broken)."""
    champion = read_json(path)
    named = isinstance(champion, dict)
    if not named or type(champion.get("round")) is not int or not isinstance(champion.get("arm"), str):
        raise DataError(
            f"{path}: names no round and arm; remove it and rerun `hardcase run`, or give --round and --arm"
        )
    return dict(champion)
