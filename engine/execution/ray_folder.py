"""Where a Ray that is started here keeps its session: a folder short enough for its sockets, and writable."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.artifacts.secrets import masking_logger
from engine.errors import ConfigError

LOG = masking_logger("hardcase.ray")
LONGEST_SOCKET: Final = 103 if sys.platform == "darwin" else 107
"""Bytes of a Unix socket's path: ``sun_path`` of the system's headers without the null at its end."""
BELOW_SESSIONS: Final = len("/session_2026-01-31_23-59-59_999999_1234567/sockets/plasma_store")
"""Bytes that Ray adds to the folder of its sessions: date, time, process, and the longest name of a socket."""
SHORT_PLACES: Final = ("/tmp", "/var/tmp", "/dev/shm")


def session_folder(short_places: Sequence[str] = SHORT_PLACES) -> str | None:
    """Return the folder to start Ray with, None where its own choice (RAY_TMPDIR, TMPDIR, else /tmp) will do.

    A choice that is too long, or that nothing can be written to, is replaced by the first short place, and a line says so.

    Raises:
        ConfigError: no short place can be written to.
    """
    chosen = Path(_ray_default())
    problem = _problem(chosen)
    if not problem:
        return None
    for place in map(Path, short_places):
        if not _problem(place):
            LOG.warning("Ray keeps its sessions in %s: %s %s", place / "ray", chosen, problem)
            return str(place / "ray")
    raise ConfigError(
        f"TMPDIR: {chosen} {problem}, and so do {', '.join(short_places)}; set RAY_TMPDIR to a folder of at most "
        f"{_longest()} characters that you may write to, or give backend.kind=local"
    )


def _ray_default() -> str:
    given = os.environ.get("RAY_TMPDIR") or (
        os.environ.get("TMPDIR") if sys.platform.startswith("linux") else None
    )
    return given or ("/tmp" if os.name == "posix" else tempfile.gettempdir())


def _longest() -> int:
    return LONGEST_SOCKET - BELOW_SESSIONS - len("/ray")


def _problem(place: Path) -> str:
    """Say why Ray cannot keep its sockets below ``place``, "" where it can."""
    longest = _longest()
    if len(os.fsencode(place)) > longest:
        return f"is too long for Ray's sockets (at most {longest} characters)"
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return "is no folder that can be written to"
    return ""
