"""Draws how far every row of the benchmarks is from its target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from experiments.benchmarks.report import reached


def draw(rows: Mapping[str, Mapping[str, Any]], folder: Path) -> Path:
    """Write ``ratios.png``: a dot per row with a target, what was reached as a multiple of it, on a logarithmic axis.

    Rows are told apart by side of the line and by filled (met) and hollow (missed) dots, not by colour alone.
    """
    found = {name: share for name, row in rows.items() if (share := reached(row)) is not None}
    order = sorted(found, key=lambda name: found[name])
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.36 * len(order)), layout="constrained")
    for place, name in enumerate(order):
        met = bool(rows[name]["met"])
        shade = "#0b5cad" if met else "#8a5a44"
        axes.plot([1.0, found[name]], [place, place], color=shade, linewidth=1.2)
        axes.plot(found[name], place, "o", color=shade, markerfacecolor=shade if met else "white")
    axes.axvline(1.0, color="#444444", linewidth=1.0)
    axes.set_yticks(range(len(order)), order)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("reached, as a multiple of the target (filled: met; hollow: missed)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    path = folder / "ratios.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
