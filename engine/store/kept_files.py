"""Reads the config that a run folder keeps of its run."""

from __future__ import annotations

from pathlib import Path

from engine.config import Config, parse_config, read_tree
from engine.errors import ConfigError, DataError


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
