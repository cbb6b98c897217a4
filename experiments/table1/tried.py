"""Lists what was tried on the development sets, figure by figure on val, so that every choice of PROTOCOL.md can be traced.

Beside the endpoint stand figures that vary less from one training to the next: the mean sensitivity at 85 to 95 %
specificity, the area under the malignant ROC, and the log loss of the calibrated probabilities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.evaluation import metrics
from engine.evaluation.scoring import malignant_score
from engine.study.contrasts import PRIMARY
from experiments.lib.outcomes import unpack

Table = Mapping[str, Any]

SHOWN = {
    "Origin500 plain": "real",
    "Origin500": "Origin500",
    "Hybrid1000 random": "random",
    "Hybrid1000": "hard",
}
"""Rows of ResNet18 by which settings are compared, and their names."""
FIGURES = {
    PRIMARY: "sensitivity at 90 % specificity",
    "sensitivity_85_95": "mean at 85 to 95 %",
    "malignant_auc": "AUROC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "nll": "log loss",
}
WINDOW = np.linspace(0.85, 0.95, 11)
"""Specificities over which the sensitivity is averaged."""


def tried(tables: Mapping[str, Mapping[int, Table]]) -> tuple[dict[str, Any], list[str]]:
    """Return {label: {arm: {figure: [one per set], sets}}} and the same as Markdown, means over sets.

    Args:
        tables: the development tables by label and set.
    """
    found = {label: of_sets(sets) for label, sets in sorted(tables.items(), key=lambda kept: len(kept[0]))}
    lines = [
        "# What was tried on development",
        "",
        "Written by `python -m experiments.table1 collect`. ResNet18 on val, mean over the sets; %, but the log loss. A",
        "setting is what changed against the config of that commit; an arm stands again only where its figures changed.",
        "Val is small, and each figure is one training a set: differences of a few points are noise.",
        "64 px where nothing else is said.",
        "",
        "| setting | arm | sets | synthetic | " + " | ".join(FIGURES.values()) + " |",
        "|---" * (4 + len(FIGURES)) + "|",
    ]
    seen: list[dict[str, list[float]]] = []
    for label, arms in found.items():
        for arm, figures in arms.items():
            if figures not in seen:
                seen.append(figures)
                cells = [_text(name, figures[name]) for name in FIGURES]
                count = f"{np.mean(figures['n_synthetic']):.0f}"
                sets = ", ".join(map(str, figures["sets"]))
                lines.append(
                    f"| {setting(label, tables[label])} | {arm} | {sets} | {count} | "
                    + " | ".join(cells)
                    + " |"
                )
    return found, [*lines, ""]


def of_sets(sets: Mapping[int, Table]) -> dict[str, dict[str, list[float]]]:
    """Return {arm: {figure: one value per set, n_synthetic, sets}} of one setting."""
    found: dict[str, dict[str, list[float]]] = {}
    for row, arm in SHOWN.items():
        name = f"resnet18 | {row}"
        cells = {
            number: (table["cases"], table["cells"][name])
            for number, table in sorted(sets.items())
            if name in table["cells"] and "cases" in table
        }
        if cells:
            values = [figures_of(*cell) for cell in cells.values()]
            found[arm] = {figure: [value[figure] for value in values] for figure in values[0]}
            found[arm]["sets"] = list(cells)
    return found


def figures_of(cases: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one cell on val."""
    run = unpack(cases, {"arm": cell["outcome"]})
    prob_NC, label_N = run.val.prob["arm"], run.val.label_N
    malignant_N = np.isin(label_N, run.malignant_columns)
    score_N = malignant_score(prob_NC, run.malignant_columns)
    once_1N = np.ones((1, len(score_N)))
    window = [metrics.sensitivity_at_specificity(once_1N, score_N, malignant_N, floor) for floor in WINDOW]
    kept = {name: cell["figures"][name] for name in (PRIMARY, "accuracy", "balanced_accuracy")}
    return {
        **{name: float("nan") if value is None else value for name, value in kept.items()},
        "sensitivity_85_95": float(np.mean(window)),
        "malignant_auc": float(metrics.area_under_roc(once_1N, score_N, malignant_N)[0]),
        "nll": float(metrics.proper_score_columns(prob_NC, label_N)[:, 0].mean()),
        "n_synthetic": cell["n_synthetic"],
    }


def setting(label: str, sets: Mapping[int, Table]) -> str:
    """Return a label's changes but for its arms, or the commit whose config it is; names any size but 64 px."""
    size, _, rest = label.partition(" px")
    changes = re.sub(r"(^|, )loop\.arms=\[[^]]*\]", "", rest).removeprefix(", ")
    pixels = size.rpartition(" ")[2]
    what = changes or f"the config of {sets[min(sets)]['commit'][:7]}"
    return what if pixels == "64" else f"{pixels} px: {what}"


def _text(name: str, values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    return f"{mean:.3f}" if name == "nll" else f"{100 * mean:.1f}"
