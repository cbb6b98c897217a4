"""What a study reports beside its endpoints (PROTOCOL.md): challenging lesions, classes, calibration, subgroups.

None of it is a planned contrast. Differences have the t interval of the study's design over its replicates (paired, or
corrected for the overlap of folds), unadjusted for how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from engine.evaluation.comparison import Difference, corrected_resampled_t, paired_t
from engine.evaluation.metrics import Floats
from engine.evaluation.replicate import Replicate, arm_figures
from engine.evaluation.study import ARM, PRIMARY, Study
from engine.evaluation.study_design import Design
from engine.evaluation.subgroups import FEWEST_LESIONS, UNKNOWN, age_bands, in_order
from engine.types import BoolArray, StrArray, strings

GROUPS = ("challenging", "rest")
SHARES = ("sensitivity", "specificity", "balanced_accuracy")
ATTRIBUTES = {"sex": "sex", "age": "age", "localization": "site"}
"""HAM10000's columns, and what they are called here; it has none for the skin type."""

Entry = Mapping[str, Any]


def challenging(arms: Sequence[Mapping[str, Entry]], design: Design) -> dict[str, Any]:
    """Return {group: {n, arms: {arm: {share: [by replicate]}}, hard_minus: {baseline: {share: difference}}}}.

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
                arm: {share: _record(values[ARM][share], values[arm][share], design) for share in SHARES}
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


def _values(columns: pd.DataFrame, column: str, image_id: StrArray) -> StrArray:
    value = columns.loc[image_id.tolist(), column]
    if column == "age":
        return age_bands(value.to_numpy(dtype=np.float64))
    return strings(value.fillna("").astype(str).tolist())


def _subgroup(runs: Sequence[Replicate], design: Design, rows: Sequence[BoolArray]) -> dict[str, Any]:
    within = [_restricted(run, rows_N) for run, rows_N in zip(runs, rows, strict=True)]
    malignant, benign = set[str](), set[str]()
    for run in within:
        positive_N = np.isin(run.test.label_N, run.malignant_columns)
        malignant |= set(run.test.lesion_id[positive_N].tolist())
        benign |= set(run.test.lesion_id[~positive_N].tolist())
    figures: dict[str, Any] = {"n_malignant_lesions": len(malignant), "n_benign_lesions": len(benign)}
    for figure, lesions in ((PRIMARY, malignant), ("malignant.specificity", benign)):
        values = {arm: [_figure(run, arm, figure) for run in within] for arm in ("real", ARM)}
        figures[figure] = {**values, "difference": _record(values[ARM], values["real"], design)}
        figures[figure]["too_few"] = len(lesions) < FEWEST_LESIONS
    return figures


def _restricted(run: Replicate, rows_N: BoolArray) -> Replicate:
    part = run.test
    test = replace(
        part,
        image_id=part.image_id[rows_N],
        lesion_id=part.lesion_id[rows_N],
        label_N=part.label_N[rows_N],
        group_N=part.group_N[rows_N],
        prob={arm: prob_NC[rows_N] for arm, prob_NC in part.prob.items()},
    )
    return replace(run, test=test)


def _figure(run: Replicate, arm: str, figure: str) -> float | None:
    value = (
        arm_figures(run, arm, draws=1, seed=0).point.get(figure, float("nan"))
        if len(run.test.label_N)
        else float("nan")
    )
    return float(value) if np.isfinite(value) else None


def _share(group: Entry, share: str) -> float | None:
    found = group if share == "balanced_accuracy" else group["malignant"]
    value: float | None = found[share]["value"]
    return value


def _record(
    ours: Sequence[float | None], theirs: Sequence[float | None], design: Design
) -> dict[str, float] | None:
    if None in ours or None in theirs or len(ours) < 2:
        return None
    found = difference(np.array(ours, dtype=np.float64) - np.array(theirs, dtype=np.float64), design)
    return {"value": found.value, "low": found.low, "high": found.high}


def difference(value_R: Floats, design: Design) -> Difference:
    """Return the mean difference with the t interval of the study's design."""
    if design.kind == "cross-validation":
        return corrected_resampled_t(value_R, design.n_train, design.n_test)
    return paired_t(value_R)


def challenging_lines(found: Mapping[str, Any]) -> list[str]:
    """Return ``challenging`` as Markdown: %, means over replicates, and what ``hard`` has more, in points."""
    if not found:
        return []
    titles = [f"{group}: {share.replace('_', ' ')}" for group in GROUPS for share in SHARES]
    low, high = min(found["challenging"]["n"]), max(found["challenging"]["n"])
    lines = [
        "### Challenging lesions and the rest",
        "",
        f"Challenging: the {low} to {high} test images of lesions that three reference models of another architecture get "
        "wrong, listed before any arm is trained. Malignant operating point fixed on val; %, mean over replicates.",
        "",
        "| arm | " + " | ".join(titles) + " |",
        "|---" * (len(titles) + 1) + "|",
    ]
    for arm in found["challenging"]["arms"]:
        lines.append(f"| {arm} | " + " | ".join(_means(found, arm)) + " |")
    for arm in found["challenging"]["hard_minus"]:
        if arm in ("real", "random", "classical"):
            cells = [points(found[group]["hard_minus"][arm][share]) for group in GROUPS for share in SHARES]
            lines.append(f"| hard minus {arm} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _means(found: Mapping[str, Any], arm: str) -> list[str]:
    values = [found[group]["arms"][arm][share] for group in GROUPS for share in SHARES]
    return ["" if None in many else f"{100 * np.mean(many):.1f}" for many in values]


def class_lines(study: Study) -> list[str]:
    """Return every class's sensitivity and specificity by arm, and the calibration error, as Markdown: %, means."""
    classes = study.runs[0].classes
    lines = [
        "### By class, and calibration",
        "",
        "Sensitivity / specificity of each class (highest probability), and the calibration error (lower is better); %, "
        "mean over replicates.",
        "",
        "| arm | " + " | ".join(classes) + " | calibration error |",
        "|---" * (len(classes) + 2) + "|",
    ]
    for arm, figures in study.arms.items():
        cells = [
            " / ".join(
                _mean(figures.get(f"per_class.{dx}.{share}")) for share in ("sensitivity", "specificity")
            )
            for dx in classes
        ]
        lines.append(f"| {arm} | {' | '.join(cells)} | {_mean(figures.get('ece'))} |")
    return [*lines, ""]


def _mean(values: Floats | None) -> str:
    return "" if values is None or not np.isfinite(values).all() else f"{100 * float(np.mean(values)):.1f}"


def subgroup_lines(found: Mapping[str, Any]) -> list[str]:
    """Return ``subgroups`` as Markdown; a share that rests on too few lesions is marked."""
    lines = [
        "| | group | malignant lesions | sensitivity: real | hard | hard minus real "
        "| benign lesions | specificity: real | hard | hard minus real |",
        "|---" * 10 + "|",
    ]
    for name, groups in found.items():
        for group, figures in groups.items():
            cells = []
            for figure, count in (
                (PRIMARY, "n_malignant_lesions"),
                ("malignant.specificity", "n_benign_lesions"),
            ):
                values = figures[figure]
                mark = " (too few)" if values["too_few"] else ""
                shares = [
                    "" if None in values[arm] else f"{100 * np.mean(values[arm]):.1f}"
                    for arm in ("real", ARM)
                ]
                cells += [f"{figures[count]}{mark}", *shares, points(values["difference"])]
            lines.append(f"| {name} | {group} | {' | '.join(cells)} |")
    return [*lines, "", "Skin type: not assessable, HAM10000 does not give it.", ""]


def points(found: Mapping[str, float] | None) -> str:
    """Return a difference in points with its interval, "" for none."""
    if found is None:
        return ""
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
