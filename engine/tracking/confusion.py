"""Draws a confusion matrix as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.artifacts.visible_text import visible


def confusion_png(classes: Sequence[str], counts: npt.ArrayLike, title: str) -> bytes:
    """Draw counts (C,C), rows true and columns predicted, shaded by each row's share; returns PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts_CC = np.asarray(counts, dtype=np.float64)
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1.0)
    side = max(3.5, 0.6 * len(classes) + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(share_CC, cmap="Blues", vmin=0.0, vmax=1.0)
    names = [visible(name) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, parse_math=False)
    for (row, column), count in np.ndenumerate(counts_CC):
        colour = "white" if share_CC[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=8)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
