"""What `hardcase doctor` says of a cluster's nodes: do they answer, share the folder, agree on versions and on the time?"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import HardcaseError
from engine.execution.node_facts import NodeFacts, version_of

ALIKE: Final = (
    "ray",
    "torch",
    "torchvision",
    "timm",
    "diffusers",
    "transformers",
    "numpy",
    "faiss-cpu",
    "scikit-learn",
    "hardcase",
)
"""Packages of which all nodes need the same version: results are computed by them, or Ray talks through them."""
SKEW_SECONDS: Final = 2.0
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
SLOW_MB: Final = 20.0
"""MB per second into the shared folder below which stages wait for it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: ``state`` is ok, note, slow or missing; only missing makes the command fail."""

    state: str
    what: str
    text: str


def visited(address: str, output: str) -> list[Finding]:
    """Visit the nodes of the cluster at ``address`` and return what is found."""
    from engine.execution.ray_nodes import visit

    try:
        nodes = visit(address, Path(output), ALIKE)
    except HardcaseError as error:
        return [Finding(state="missing", what="nodes", text=str(error))]
    except OSError as error:
        text = f"{output} cannot be written from here ({error.strerror or error}); give output=FOLDER that all nodes share"
        return [Finding(state="missing", what="nodes", text=text)]
    return [token(nodes), *(finding for node in nodes for finding in of_node(node, output)), *versions(nodes)]


def token(nodes: Sequence[NodeFacts]) -> Finding:
    """Say whether Ray asks for a token."""
    if os.environ.get("RAY_AUTH_MODE") == "token":
        return Finding(
            state="ok", what="token", text="RAY_AUTH_MODE=token: the cluster asks for it on every port"
        )
    if all(node.address in LOOPBACK for node in nodes):
        return Finding(state="ok", what="token", text="none; Ray listens on this machine alone")
    text = (
        "RAY_AUTH_MODE is not token: who reaches Ray's ports may run any code there; README, On a Ray cluster"
    )
    return Finding(state="note", what="token", text=text)


def of_node(node: NodeFacts, output: str) -> list[Finding]:
    """Return the lines on one node: what it has, the shared folder, its clock."""
    what = f"node {node.address}"
    if not node.answered:
        return [
            Finding(
                state="missing",
                what=what,
                text=f"does not answer ({node.problem}); see `ray status`, restart it",
            )
        ]
    if node.problem:
        text = f"{output}: {node.problem}; mount one folder that all nodes share under this path, and give it as output"
        return [Finding(state="missing", what=what, text=text)]
    has = ", ".join(f"{count:g} {name}" for name, count in node.resources.items()) or "no CPU for stages"
    text = f"{has}; {output} read and written, {node.mb_per_second:.0f} MB/s"
    state = "ok" if node.mb_per_second >= SLOW_MB else "slow"
    found = [Finding(state=state, what=what, text=text)]
    if abs(node.ahead) > SKEW_SECONDS:
        where = "ahead" if node.ahead > 0 else "behind"
        text = f"its clock is {abs(node.ahead):.0f} s {where}; start a time service (chrony)"
        found.append(Finding(state="note", what=what, text=text))
    return found


def versions(nodes: Sequence[NodeFacts]) -> list[Finding]:
    """Return one line per package that not all nodes, and this machine, have in one version."""
    here = _here()
    found = []
    for name, own in here.items():
        others: dict[str, list[str]] = {}
        for node in nodes:
            if node.answered:
                version = node.python if name == "python" else node.packages.get(name, "")
                others.setdefault(version, []).append(node.address)
        for version, addresses in sorted(others.items()):
            if version != own:
                text = f"{version or 'none'} on {', '.join(addresses)}, {own or 'none'} here; install the same on every node"
                found.append(Finding(state="missing", what=name, text=text))
    return found or [
        Finding(
            state="ok",
            what="versions",
            text=f"the same here and on {len(nodes)} node{'' if len(nodes) == 1 else 's'}",
        )
    ]


def _here() -> Mapping[str, str]:
    return {"python": platform.python_version()} | {name: version_of(name) for name in ALIKE}
