"""What a node of a cluster says of itself for `hardcase doctor`: versions, clock, and the shared folder as it sees it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

OF_DRIVER: Final = "driver"
"""The file that the driver wrote into the probed folder."""
PROBE_MB: Final = 32
"""How much each node writes, MB."""


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What one node found.

    Attributes:
        address: of the node.
        host: its name.
        resources: what Ray may use of it, by name ("CPU", "GPU").
        python: version of Python.
        packages: version by package; "" where it is not installed.
        ahead: its clock minus the driver's, seconds, give or take half of what a quick call takes; the driver fills it in.
        wrote: name of the file that it wrote into the shared folder.
        problem: why the shared folder cannot be used there; "" where it can.
        mb_per_second: of writing into that folder.
        answered: whether it answered at all.
    """

    address: str
    host: str = ""
    resources: Mapping[str, float] = field(default_factory=dict)
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    ahead: float = 0.0
    wrote: str = ""
    problem: str = ""
    mb_per_second: float = 0.0
    answered: bool = True


def look_around(folder: Path, token: str, packages: Sequence[str]) -> NodeFacts:
    """Look around on this node: read what the driver wrote into ``folder``, write a file of this node's own.

    That file begins with ``token``, which the driver reads back.
    """
    host = socket.gethostname()
    name = f"{host}-{uuid.uuid4().hex}"
    problem, speed = "", 0.0
    try:
        found = (folder / OF_DRIVER).read_text(encoding="utf-8")
        if found != token:
            problem = "holds something else there than the driver wrote: it is another folder, or an old copy"
        else:
            speed = _write(folder / name, token)
    except OSError as error:
        problem = f"{error.strerror or error}: it is not shared with this node, or may not be written there"
    return NodeFacts(
        address="",
        host=host,
        python=platform.python_version(),
        packages={package: version_of(package) for package in packages},
        wrote=name,
        problem=problem,
        mb_per_second=speed,
    )


def _write(path: Path, token: str) -> float:
    """Write PROBE_MB of zeros behind the token, on the disk before this returns; MB per second."""
    block, start = bytes(2**20), time.perf_counter()
    with path.open("wb") as handle:
        handle.write(token.encode())
        for _ in range(PROBE_MB):
            handle.write(block)
        handle.flush()
        os.fsync(handle.fileno())
    return PROBE_MB / max(1e-6, time.perf_counter() - start)


def version_of(name: str) -> str:
    """Return the version of an installed package, "" where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
