"""Which stages are to blame where a run's digests are not the pinned ones.

A record is {stage, version, inputs, output}. A stage that read the same and wrote something else is to blame; one that
read something else is not, since the change lies before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Records = Mapping[str, Mapping[str, Any]]
WRITE = "run `python -m tests.golden.write`"


def blame(pinned: Records, found: Records) -> list[str]:
    """Return one line per stage to blame, with the remedy; empty where every record is the pinned one.

    Where records differ and no stage is to blame, a line names what differs: the params a stage reads, or the roles.
    """
    lines: dict[str, list[str]] = {}
    for role in sorted(pinned.keys() & found.keys()):
        line = _verdict(pinned[role], found[role])
        if line is not None:
            lines.setdefault(line, []).append(role)
    named = [f"{line} (in {', '.join(roles)})" for line, roles in lines.items()]
    return named or _unexplained(pinned, found)


def _verdict(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    stage, old, new = now["stage"], before["version"], now["version"]
    if new < old:
        return f"stage {stage}: its version fell from {old} to {new}; a version only rises"
    if new > old:
        return f"stage {stage}: its version rose from {old} to {new}: {WRITE}"
    if before["inputs"] == now["inputs"] and before["output"] != now["output"]:
        return (
            f"stage {stage}: its output changed but its version is still {old}: "
            f"raise its `version` in engine/stages, then {WRITE}"
        )
    return None


def _unexplained(pinned: Records, found: Records) -> list[str]:
    lines = [
        f"role {role} is pinned but was not played: {WRITE}" for role in sorted(pinned.keys() - found.keys())
    ]
    lines += [f"role {role} is new: {WRITE}" for role in sorted(found.keys() - pinned.keys())]
    other = [role for role in sorted(pinned.keys() & found.keys()) if pinned[role] != found[role]]
    if other:
        lines.append(f"what {', '.join(other)} read differs, but no stage's own output: if meant, {WRITE}")
    return lines
