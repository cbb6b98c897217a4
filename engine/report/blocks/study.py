"""Tables of a study for its page and for the page of one run: replicates, contrasts, challenging cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from engine.arms import in_words
from engine.artifacts.run_files import RunFiles
from engine.evaluation.figures import figure_words, is_share, lower_is_better
from engine.report import charts as draw
from engine.report.templating import in_full
from engine.report.wording import NOTHING, p_text, percent
from engine.study.answer import difference_text
from engine.study.contrasts import ARM, FIGURES, Contrast, Study

REACHES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""How far the strips of a table reach on either side of 0: the first that holds all its intervals, else the last."""
CLAIMS: Final[Mapping[str, str]] = {
    "better": "hard cases are better",
    "worse": "hard cases are worse",
    "not shown": "not shown",
    "": NOTHING,
}


def arms_table(study: Study) -> list[dict[str, Any]]:
    """One row an arm: the mean of each figure over replicates and its range."""
    return [
        {
            "arm": arm,
            "key": draw.legend_marker(arm),
            "cells": [_mean_range(study.arms[arm].get(name), name) for name in FIGURES],
        }
        for arm in study.arms
    ]


def replicates_table(study: Study) -> dict[str, Any]:
    """One row per replicate: the primary endpoint of each arm and the difference hard minus real."""
    contrast = study.contrast(study.primary, "real")
    rows = []
    for number, members in enumerate(study.design.groups):
        rows.append(
            {
                "name": ", ".join(study.runs[m].name for m in members),
                "lesions": len(study.runs[members[0]].lesions("train")),
                "cells": [
                    _value(study.arms[arm][study.primary][number], study.primary) for arm in study.arms
                ],
                "difference": NOTHING
                if contrast is None
                else _change(contrast.values[number], study.primary),
            }
        )
    return {
        "arms": [(arm, draw.legend_marker(arm)) for arm in study.arms],
        "rows": rows,
        "unit": study.design.unit,
        "figure": figure_words(study.primary),
    }


def paired_tests_table(study: Study) -> list[dict[str, str]]:
    """Clustered McNemar and DeLong of each run, hard against real, first classifier seed; exploratory."""
    rows = []
    for run, found in zip(study.runs, study.paired_tests, strict=True):
        if found is not None:
            rows.append(
                {
                    "name": run.name,
                    "mcnemar": p_text(found["mcnemar_p"]),
                    "auc": _signed(found["delong_auc_difference"]),
                    "delong": p_text(found["delong_p"]),
                }
            )
    return rows


def contrasts_tables(study: Study) -> list[dict[str, Any]]:
    """Hard minus each arm, one table per endpoint: headline, both procedures, Holm's p and the claim."""
    found = [(figure, [c for c in study.contrasts if c.figure == figure]) for figure in study.endpoints]
    return [_contrasts_table(study, figure, contrasts) for figure, contrasts in found if contrasts]


def _contrasts_table(study: Study, figure: str, contrasts: Sequence[Contrast]) -> dict[str, Any]:
    reach = reach_of(contrasts)
    return {
        "figure": figure_words(figure),
        "role": "primary" if figure == study.primary else "co-primary",
        "unit": "percentage points" if is_share(figure) else "as they are",
        "reach": f"{100 * reach:g} points" if is_share(figure) else f"{reach:g}",
        "better": "left" if lower_is_better(figure) else "right",
        "rows": [_contrast_row(contrast, reach) for contrast in contrasts],
        "reasons": list(dict.fromkeys(_said(c) for c in contrasts if c.reason)),
    }


def _said(contrast: Contrast) -> str:
    """Why nothing is claimed whatever the interval holds, or what stands beside the claim."""
    if contrast.claim == "not shown":
        return f"Not shown, whatever the interval holds: {contrast.reason}"
    return contrast.reason[:1].upper() + contrast.reason[1:]


def reach_of(contrasts: Sequence[Contrast]) -> float:
    """Return how far strips must reach from 0 so that every interval is whole."""
    ends = [abs(end) for c in contrasts for end in (c.difference.low, c.difference.high)]
    return next((reach for reach in REACHES if reach >= max(ends)), REACHES[-1])


def family_words(study: Study) -> str:
    """Return in words which arms Holm's procedure adjusts together; "" where there is no family."""
    arms = [in_words(arm) for arm in dict.fromkeys(contrast.baseline for contrast in study.family)]
    if not arms:
        return ""
    words = " and ".join(filter(None, [", ".join(arms[:-1]), arms[-1]]))
    return words if len(study.endpoints) == 1 else f"{words}, {len(study.endpoints)} endpoints each"


def _contrast_row(contrast: Contrast, reach: float) -> dict[str, Any]:
    figure, difference, lesions = contrast.figure, contrast.difference, contrast.lesions.count
    text = difference_text(difference, figure, lesions)
    return {
        "baseline": contrast.baseline,
        "key": draw.legend_marker(contrast.baseline),
        "role": contrast.role,
        "headline": text,
        "strip": draw.difference_strip(
            difference.low, difference.value, difference.high, contrast.baseline, reach, text
        ),
        "procedures": [(d.method, difference_text(d, figure, lesions)) for d in contrast.procedures],
        "p": p_text(contrast.adjusted_p) if contrast.adjusted_p is not None else NOTHING,
        "adjusted": difference_text(contrast.adjusted, figure, lesions)
        if contrast.adjusted is not None else NOTHING,
        "claim": CLAIMS[contrast.claim],
    }  # fmt: skip


def exploratory_table(study: Study) -> dict[str, Any]:
    """Hard minus each arm in the other figures: rows figures, columns arms; guards marked."""
    names = {
        **FIGURES,
        **{f"per_class.{dx}.sensitivity": f"Sensitivity, {in_full(dx)}" for dx in study.runs[0].classes},
    }
    found: dict[tuple[str, str], Contrast] = {(c.figure, c.baseline): c for c in study.contrasts}
    baselines = [arm for arm in study.arms if arm != ARM and arm not in study.untested]
    rows = [
        {
            "name": words,
            "guard": any(c.role == "guard" for c in study.contrasts if c.figure == name),
            "cells": [_cell(found.get((name, arm)), name) for arm in baselines],
        }
        for name, words in names.items()
        if name not in study.endpoints and any((name, arm) in found for arm in baselines)
    ]
    return {"baselines": [(arm, draw.legend_marker(arm)) for arm in baselines], "rows": rows}


def challenging_means(files: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """Each arm's malignant sensitivity on challenging test lesions and on the rest: mean over runs and range."""
    figures = ("balanced_accuracy", "malignant.sensitivity")
    columns = [f"{part}.{figure}" for part in ("challenging", "rest") for figure in figures]
    found: dict[str, dict[str, list[float]]] = {}
    for run in files:
        for entry in run.report.of_round(run.report.last_round(ARM)):
            for name in columns:
                value = entry.figure("test", name).value
                if value is not None:
                    found.setdefault(entry.arm, {}).setdefault(name, []).append(value)
    return [
        {
            "arm": arm,
            "key": draw.legend_marker(arm),
            "cells": [_mean_range(np.array(values[c]) if c in values else None, c) for c in columns],
        }
        for arm, values in found.items()
    ]  # fmt: skip


def _cell(contrast: Contrast | None, name: str) -> str:
    if contrast is None:
        return NOTHING
    return difference_text(contrast.difference, name, contrast.lesions.count)


def _mean_range(values: Any, name: str) -> str:
    """``78.2 % (70.1–85.3)``: the mean and the range over replicates."""
    known = [] if values is None else [float(v) for v in values if np.isfinite(v)]
    if not known:
        return NOTHING
    mean, low, high = float(np.mean(known)), min(known), max(known)
    if not is_share(name):
        return f"{mean:.3f} ({low:.3f}–{high:.3f})"
    return f"{percent(mean)} ({100 * low:.1f}–{100 * high:.1f})"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.3f}"


def _value(value: float, name: str) -> str:
    """One figure of one replicate: %, or a number."""
    if not np.isfinite(value):
        return NOTHING
    return percent(float(value)) if is_share(name) else f"{value:.3f}"


def _change(value: float, name: str) -> str:
    """One difference without its interval: points, or a number."""
    return f"{100 * value:+.1f}" if is_share(name) else f"{value:+.3f}"
