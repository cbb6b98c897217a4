"""Reads the kept sets of Table I as tables, means over sets and studies of ResNet18's arms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.study.contrasts import Study, make_study
from engine.study.replicates import Replicate
from experiments.lib.outcomes import ENDPOINTS, unpack
from experiments.table1.plan import CONFIRMING, SYNTHETIC
from experiments.table1.set_files import read_set

PRIMARY_TABLE = "own in total 64 px"
"""The table whose contrasts over confirming sets are the study's; all others are exploratory."""

Table = Mapping[str, Any]


def tables(folder: Path) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """Yield (set, part, label, table) of every kept table."""
    for path in sorted([*folder.glob("set_??.json"), *folder.glob("per_class_??.json")]):
        found = read_set(path)
        for label, table in found["tables"].items():
            yield found["set"], found["part"], label, table


def average(sets: Sequence[Table]) -> dict[str, dict[str, Any]]:
    """Return {cell: {endpoint: mean over sets, n_sets, n_real, n_synthetic}}; an endpoint undefined somewhere is null."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for table in sets for name in table["cells"]):
        cells = [table["cells"][name] for table in sets if name in table["cells"]]
        figures = {}
        for endpoint in ENDPOINTS:
            values = [cell["figures"][endpoint] for cell in cells]
            figures[endpoint] = None if None in values else float(np.mean(values))
        counts = {key: float(np.mean([cell[key] for cell in cells])) for key in ("n_real", "n_synthetic")}
        found[name] = {**figures, **counts, "n_sets": len(cells)}
    return found


def commits(sets: Sequence[Table]) -> list[str]:
    """Return the commits that made a table's cells, in the order of the sets; old cells name only their table's."""
    cells = [cell.get("made", table) for table in sets for cell in table["cells"].values()]
    return list(dict.fromkeys(str(made["commit"]) for made in cells))


def finished(sets: Mapping[int, Table]) -> dict[int, Table]:
    """Return the sets in which ResNet18 has trained every arm of the config.

    A set that stopped half way lacks some contrasts, so that the family of Holm's procedure would shrink.
    """
    rows = {arm: f"resnet18 | {row}" for row, arm in SYNTHETIC.items()}
    return {
        number: table
        for number, table in sets.items()
        if all(rows[arm] in table["cells"] for arm in table["config"]["loop"]["arms"] if arm in rows)
    }


def unfinished(sets: Mapping[int, Table]) -> str:
    """Return why nothing may be claimed of these confirming sets yet, "" where they are complete (PROTOCOL.md)."""
    missing = [str(number) for number in CONFIRMING if number not in sets]
    return (
        f"{len(sets)} training sets; {', '.join(missing)} of the planned ones are missing" if missing else ""
    )


def compare(sets: Sequence[Table], objection: str, draws: int) -> Study | None:
    """Return the study of ResNet18's arms over the sets that have hard and real; None with fewer than two."""
    found = replicates(sets)
    return make_study(found, draws=draws, objection=objection) if len(found) > 1 else None


def replicates(sets: Iterable[Table]) -> list[Replicate]:
    """Return ResNet18's arms in each of the sets that have hard and real."""
    arms = {f"resnet18 | {row}": arm for row, arm in SYNTHETIC.items()}
    found = []
    for table in sets:
        outcomes = {arms[name]: cell["outcome"] for name, cell in table["cells"].items() if name in arms}
        if {"hard", "real"} <= set(outcomes):
            found.append(unpack(table["cases"], outcomes))
    return found
