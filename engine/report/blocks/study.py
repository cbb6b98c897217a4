"""Tables of a study for its page and for the page of one run: replicates, contrasts, challenging cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from engine.artifacts.run_files import RunFiles
from engine.report import charts as draw
from engine.report.wording import NOTHING, p_text, percent
from engine.study.answer import difference_text
from engine.study.comparison import Difference
from engine.study.contrasts import ARM, FIGURES, PRIMARY, Contrast, Study

SHARES: Final = ("auc", "malignant.auc", "ece")
"""Figures that are no percentages: differences are printed as numbers."""
CLAIMS: Final[Mapping[str, str]] = {
    "better": "hard is better",
    "worse": "hard is worse",
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
    contrast = study.contrast(PRIMARY, "real")
    rows = []
    for number, members in enumerate(study.design.groups):
        rows.append(
            {
                "name": ", ".join(study.runs[m].name for m in members),
                "lesions": len(study.runs[members[0]].lesions("train")),
                "cells": [percent(_or_none(study.arms[arm][PRIMARY][number])) for arm in study.arms],
                "difference": NOTHING if contrast is None else f"{100 * contrast.values[number]:+.1f}",
            }
        )
    return {
        "arms": [(arm, draw.legend_marker(arm)) for arm in study.arms],
        "rows": rows,
        "unit": study.design.unit,
    }


def paired_tests_table(study: Study) -> list[dict[str, str]]:
    """Clustered McNemar and DeLong of each run, hard against real; exploratory."""
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


def contrasts_table(study: Study) -> list[dict[str, Any]]:
    """Hard minus each arm on the primary endpoint: headline, both procedures, Holm's p and the claim."""
    return [
        {
            "baseline": c.baseline,
            "key": draw.legend_marker(c.baseline),
            "role": {"primary": "primary", "confirmatory": "confirmatory"}.get(c.role, "exploratory"),
            "headline": difference_text(c.difference),
            "strip": draw.difference_strip(c.difference.low, c.difference.value, c.difference.high, c.baseline),
            "procedures": [(d.method, difference_text(d)) for d in c.procedures],
            "p": p_text(c.adjusted_p) if c.adjusted_p is not None else NOTHING,
            "adjusted": difference_text(c.adjusted) if c.adjusted is not None else NOTHING,
            "claim": CLAIMS[c.claim],
        }
        for c in study.contrasts
        if c.figure == PRIMARY
    ]  # fmt: skip


def exploratory_table(study: Study) -> dict[str, Any]:
    """Hard minus each arm in the other figures: rows figures, columns arms; guards marked."""
    names = {
        **FIGURES,
        **{f"per_class.{dx}.sensitivity": f"Sensitivity {dx}" for dx in study.runs[0].classes},
    }
    found: dict[tuple[str, str], Contrast] = {(c.figure, c.baseline): c for c in study.contrasts}
    baselines = [arm for arm in study.arms if arm != ARM]
    rows = [
        {
            "name": words,
            "guard": any(c.role == "guard" for c in study.contrasts if c.figure == name),
            "cells": [_cell(found.get((name, arm)), name) for arm in baselines],
        }
        for name, words in names.items()
        if name != PRIMARY and any((name, arm) in found for arm in baselines)
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
            "cells": [_mean_range(np.array(values[c]) if c in values else None, "share") for c in columns],
        }
        for arm, values in found.items()
    ]  # fmt: skip


def _cell(contrast: Contrast | None, name: str) -> str:
    if contrast is None:
        return NOTHING
    return _difference_number(contrast.difference) if name in SHARES else difference_text(contrast.difference)


def _difference_number(difference: Difference) -> str:
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _mean_range(values: Any, name: str) -> str:
    """``78.2 % (70.1–85.3)``: the mean and the range over replicates."""
    known = [] if values is None else [float(v) for v in values if np.isfinite(v)]
    if not known:
        return NOTHING
    mean, low, high = float(np.mean(known)), min(known), max(known)
    if name in SHARES:
        return f"{mean:.3f} ({low:.3f}–{high:.3f})"
    return f"{percent(mean)} ({100 * low:.1f}–{100 * high:.1f})"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.3f}"


def _or_none(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
