"""Computes what a study reports beside its endpoints (PROTOCOL.md): challenging lesions, classes, calibration, subgroups.

None of it is a planned contrast, and no interval is adjusted for their number. Subgroups are resampled as the study is (the
outer ends of two intervals). Challenging lesions differ between training sets and are not kept one by one. Where the sets
share a test part, a t over sets would forget its lesions (results/statistics), so a difference has only its range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from engine.evaluation.subgroups import FEWEST_LESIONS, UNKNOWN, age_bands, in_order
from engine.study import comparison as compare
from engine.study.contrasts import ARM, PRIMARY
from engine.study.design import Design
from engine.study.design_intervals import intervals
from engine.study.replicates import Figures, Replicate, arm_figures
from engine.types import BoolArray, StrArray, strings

GROUPS = ("challenging", "rest")
SHARES = ("sensitivity", "specificity", "balanced_accuracy")
ATTRIBUTES = {"sex": "sex", "age": "age", "localization": "site"}
"""HAM10000's columns, and what they are called here; it has none for the skin type."""

DRAWS = 500
"""Bootstrap draws of lesions for a subgroup."""

Entry = Mapping[str, Any]


def challenging(arms: Sequence[Mapping[str, Entry]], design: Design) -> dict[str, Any]:
    """Return {group: {n, arms: {arm: {share: [by replicate]}}, hard_minus: {baseline: {share: its record}}}}.

    Without reference models, which list the challenging lesions, it is empty.

    Args:
        arms: of each replicate, what ``outcomes.beside`` kept of every arm.
        design: how the replicates make a study.
    """
    names = [arm for arm in arms[0] if all(arm in found for found in arms)]
    if ARM not in names or any("challenging" not in entries[arm] for entries in arms for arm in names):
        return {}
    found = {}
    for group in GROUPS:
        values = {
            arm: {share: [_share(entries[arm][group], share) for entries in arms] for share in SHARES}
            for arm in names
        }
        found[group] = {
            "n": [entries[ARM][group]["n"] for entries in arms],
            "arms": values,
            "hard_minus": {
                arm: {
                    share: _over_replicates(values[ARM][share], values[arm][share], design)
                    for share in SHARES
                }
                for arm in names
                if arm != ARM
            },
        }
    return found


def subgroups(runs: Sequence[Replicate], design: Design, columns: pd.DataFrame) -> dict[str, Any]:
    """Return {attribute: {group: counts of test, sensitivity and specificity by arm and replicate, hard minus real}}.

    Operating points are those of the whole val part. A figure that some replicate lacks images for is null.

    Args:
        runs: the study's replicates.
        design: how they make a study.
        columns: an image's attributes (sex, age, localization), by image_id.
    """
    found: dict[str, Any] = {}
    for column, name in ATTRIBUTES.items():
        values = [_values(columns, column, run.test.image_id) for run in runs]
        known = {value for many in values for value in many.tolist() if value.lower() not in UNKNOWN}
        found[name] = {
            group: _subgroup(runs, design, [many == group for many in values]) for group in in_order(known)
        }
    return found


def restricted(run: Replicate, rows_N: BoolArray) -> Replicate:
    """Return the replicate with some of its test images alone; val, and with it the operating points, stays whole."""
    return replace(run, test=run.test.take(rows_N))


def _values(columns: pd.DataFrame, column: str, image_id: StrArray) -> StrArray:
    value = columns.loc[image_id.tolist(), column]
    if column == "age":
        return age_bands(value.to_numpy(dtype=np.float64))
    return strings(value.fillna("").astype(str).tolist())


def _subgroup(runs: Sequence[Replicate], design: Design, rows: Sequence[BoolArray]) -> dict[str, Any]:
    within = [restricted(run, rows_N) for run, rows_N in zip(runs, rows, strict=True)]
    malignant, benign = set[str](), set[str]()
    for run in within:
        positive_N = np.isin(run.test.label_N, run.malignant_columns)
        malignant |= set(run.test.lesion_id[positive_N].tolist())
        benign |= set(run.test.lesion_id[~positive_N].tolist())
    found = {
        arm: [arm_figures(run, arm, DRAWS, seed=0) for run in within if len(run.test.label_N)]
        for arm in ("real", ARM)
    }
    figures: dict[str, Any] = {"n_malignant_lesions": len(malignant), "n_benign_lesions": len(benign)}
    for figure, lesions in ((PRIMARY, malignant), ("malignant.specificity", benign)):
        values = {arm: _points(found[arm], figure, len(runs)) for arm in found}
        difference = (
            None if None in values.values() else _resampled(found[ARM], found["real"], figure, design)
        )
        figures[figure] = {**values, "difference": difference, "too_few": len(lesions) < FEWEST_LESIONS}
    return figures


def _points(found: Sequence[Figures], figure: str, runs: int) -> list[float] | None:
    """The figure by replicate, None where one of them lacks the images."""
    values = [one.point.get(figure, float("nan")) for one in found]
    return values if len(values) == runs and np.isfinite(values).all() else None


def _resampled(
    ours: Sequence[Figures], theirs: Sequence[Figures], figure: str, design: Design
) -> dict[str, float] | None:
    """The mean difference with the design's headline interval, None where no draw has every replicate's figure."""
    value_R = np.array([a.point[figure] - b.point[figure] for a, b in zip(ours, theirs, strict=True)])
    drawn_RB = np.stack([a.drawn[figure] - b.drawn[figure] for a, b in zip(ours, theirs, strict=True)])
    drawn_RB = drawn_RB[:, np.isfinite(drawn_RB).all(axis=0)]
    if drawn_RB.shape[1] < DRAWS / 2:
        return None
    found = compare.headline(*intervals(value_R, drawn_RB, design, seed=0))
    return {"value": found.value, "low": found.low, "high": found.high}


def _share(group: Entry, share: str) -> float | None:
    found = group if share == "balanced_accuracy" else group["malignant"]
    value: float | None = found[share]["value"]
    return value


def _over_replicates(
    ours: Sequence[float | None], theirs: Sequence[float | None], design: Design
) -> dict[str, float] | None:
    """The mean difference and its range; over folds, each with lesions of its own, an interval too."""
    if None in ours or None in theirs or len(ours) < 2:
        return None
    value_R = np.array(ours, dtype=np.float64) - np.array(theirs, dtype=np.float64)
    found = {
        "value": float(value_R.mean()),
        "least": float(value_R.min()),
        "most": float(value_R.max()),
        "above_0": int((value_R > 0).sum()),
        "replicates": len(value_R),
    }
    if design.kind == "cross-validation":
        interval = compare.corrected_t(value_R, design.correlation)
        found |= {"low": interval.low, "high": interval.high}
    return found
