"""Draws a study's contrasts: arm ``hard`` minus each other arm, by replicate and with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from engine.evaluation.figures import is_share
from engine.study.contrasts import ARM, PRIMARY, Study

PANELS = {
    PRIMARY: "malignant sensitivity\nat 90 % specificity (primary)",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}


def draw_contrasts(study: Study, path: Path, panels: Mapping[str, str] = PANELS) -> None:
    """Draw ``hard`` minus each arm, times 100: dots are replicates, bars the outer ends of both 95 % intervals of the mean.

    Thin bars are the intervals that hold for the whole confirmatory family (the study's endpoints alone).

    Args:
        study: the study.
        path: the file that is written.
        panels: figures, the first of which every arm has, and their titles.
    """
    first = next(iter(panels))
    baselines = [arm for arm in study.arms if arm != ARM and study.contrast(first, arm) is not None][::-1]
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 1.2 + 0.42 * len(baselines)), sharey=True)
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        axis.axvline(0.0, color="0.6", linewidth=0.8)
        for place, baseline in enumerate(baselines):
            contrast = study.contrast(name, baseline)
            if contrast is None:
                continue
            found = contrast.difference
            dots = 100 * np.asarray(contrast.values)
            axis.plot(dots, np.full(len(dots), place + 0.22), ".", color="0.55", markersize=4)
            if contrast.adjusted is not None:
                wide = [100 * contrast.adjusted.low, 100 * contrast.adjusted.high]
                axis.plot(wide, [place, place], "-", color="0.25", linewidth=0.8)
            clear = found.low > 0 or found.high < 0
            colour = "C0" if clear else "0.25"
            axis.plot([100 * found.low, 100 * found.high], [place, place], "-", color=colour, linewidth=2)
            axis.plot(100 * found.value, place, "o", color=colour, markersize=6)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(f"{ARM} minus ..., {'points' if is_share(name) else 'x 100'}", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0].set_yticks(range(len(baselines)), baselines)
    axes[0].set_ylim(-0.5, len(baselines) - 0.3)
    unit = study.design.unit
    figure.suptitle(
        f"{study.design.replicates} {unit}s (dots); thick: 95 % intervals, blue where they exclude 0; "
        f"thin: widened for the family of {len(study.family)}",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
