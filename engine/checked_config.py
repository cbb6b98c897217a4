"""Reads a config with its policies, and imports nothing heavy: a wrong key is named before torch is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.config import Config, load_config
from policies import registry


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read and validate a config file with ``key=value`` overrides, policies included.

    Raises:
        ConfigError: the file or a value is wrong; all problems in one message.
    """
    return load_config(path, overrides, check_policy=registry.check)
