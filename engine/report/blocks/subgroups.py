"""Subgroups in the report: sensitivity and specificity by sex, age, site and skin type, with what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.evaluation.subgroups import COUNTS, FEWEST_LESIONS, in_order
from engine.report import charts as draw
from engine.report.wording import percent_interval

TITLES: Final[Mapping[str, str]] = {
    "sex": "Sex",
    "age": "Age",
    "site": "Body site",
    "skin_type": "Skin type",
}


def subgroup_tables(entries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One table an attribute with a row per group, and sensitivity and specificity of each arm.

    Args:
        entries: the object of report.json of each arm shown. An attribute that the data set does not give has no rows.

    Returns:
        [] where the run was made before subgroups were recorded.
    """
    recorded = {arm: e["test"]["subgroups"] for arm, e in entries.items() if e["test"].get("subgroups")}
    if not recorded:
        return []
    return [_table(name, title, recorded) for name, title in TITLES.items()]


def _table(name: str, title: str, recorded: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = {arm: groups[name] for arm, groups in recorded.items() if groups.get(name)}
    if not found:
        return {"title": title, "arms": [], "rows": [], "unknown": 0, "warned": False}
    first = next(iter(found.values()))
    rows = []
    for position, group in enumerate(first["groups"]):
        rows.append(
            {
                "name": group["name"],
                "malignant": group["n_malignant_lesions"],
                "benign": group["n_benign_lesions"],
                "cells": [
                    {
                        "text": percent_interval(arm["groups"][position][figure], group[COUNTS[figure]]),
                        "few": figure in group["too_few"],
                    }
                    for figure in ("sensitivity", "specificity")
                    for arm in found.values()
                ],
            }
        )
    return {
        "title": title,
        "arms": [(arm, draw.legend_marker(arm)) for arm in found],
        "rows": rows,
        "unknown": first["unknown"],
        "warned": any(group["too_few"] for group in first["groups"]),
        "fewest": FEWEST_LESIONS,
    }


def mean_subgroups(
    runs: Sequence[Mapping[str, Mapping[str, Any]]], *, same_test: bool
) -> list[dict[str, Any]]:
    """The same tables over several runs: means over runs, with the lowest and the highest in the place of an interval.

    Args:
        runs: the entries shown of each run, by arm.
        same_test: whether all runs have the same test lesions; counts of different ones are added up.
    """
    found: dict[str, dict[str, list[Any]]] = {}
    for entries in runs:
        for arm, entry in entries.items():
            for name, groups in (entry["test"].get("subgroups") or {}).items():
                found.setdefault(arm, {}).setdefault(name, []).extend([groups] if groups else [])
    joined = {
        arm: {"test": {"subgroups": {name: _join(groups, same_test) for name, groups in attributes.items()}}}
        for arm, attributes in found.items()
    }
    return subgroup_tables(joined)


def _join(runs: Sequence[Mapping[str, Any]], same_test: bool) -> dict[str, Any] | None:
    """One attribute over runs; None where no run has it."""
    if not runs:
        return None
    total = max if same_test else sum
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        for group in run["groups"]:
            by_name.setdefault(str(group["name"]), []).append(group)
    groups = []
    for name in in_order(by_name):
        members = by_name[name]
        counts = {key: total(g[key] for g in members) for key in COUNTS.values()}
        groups.append(
            {
                "name": name,
                **counts,
                **{figure: _mean([g[figure]["value"] for g in members]) for figure in COUNTS},
                "too_few": [figure for figure, key in COUNTS.items() if counts[key] < FEWEST_LESIONS],
            }
        )
    return {"groups": groups, "unknown": total(run["unknown"] for run in runs)}


def _mean(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"value": None, "low": None, "high": None}
    return {"value": sum(known) / len(known), "low": min(known), "high": max(known)}
