"""Draws the active study: malignant AUROC by labels asked for, arm by arm, with intervals."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from engine.arms import ARMS
from experiments.lib.active_figures import BOTH, MARGIN, SAW, ActiveStudy

STYLES = {MARGIN: ("queried", "--"), SAW: ("hard", ":"), BOTH: (BOTH, "-.")}
"""Whose colour a curve has that is no arm's own, and its line."""


def draw_curves(study: ActiveStudy, path: Path) -> None:
    """Draw learning curves as lines with 95 % bars, arms without labels as level lines with a band at the end."""
    figure, axis = plt.subplots(figsize=(8, 4.6))
    most = max(float(curve.asked_P[-1]) for curve in study.curves.values())
    shift = most / 120
    for place, (name, curve) in enumerate(study.curves.items()):
        arm, line = STYLES.get(name, (name, "-"))
        points, colour = study.along(curve), ARMS[arm].colour
        value, low, high = (
            100 * np.array([getattr(p, end) for p in points]) for end in ("value", "low", "high")
        )
        if len(value) == 1:
            axis.axhline(value[0], color=colour, linestyle=line, linewidth=1.2, label=name)
            at = np.array([most * 1.04 + place * shift])
            axis.errorbar(
                at, value, [value - low, high - value], color=colour, fmt="s", markersize=4, capsize=3
            )
        else:
            at = curve.asked_P + (place - 1) * shift
            bars = [value - low, high - value]
            axis.errorbar(
                at, value, bars, color=colour, linestyle=line, marker="o", markersize=4, capsize=3, label=name
            )
    axis.set_xlabel("labels asked for (SIMULATED LABELS)")
    axis.set_ylabel("malignant AUROC, %")
    axis.set_title(
        f"Means over {study.design.replicates} starts and classifier seeds; bars: 95 %", fontsize=9
    )
    axis.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
