"""Draws what experiments.fidelity has measured: one panel per part, for the parts there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

Figures = Mapping[str, Any]

PAIRS = {
    "ours_minus_paper": "ours, directly",
    "twin_minus_paper": "the twin's, directly",
    "ours_minus_paper_by_twin": "ours, by the twin",
}
ADAPTER = {"beta": ("as the run samples", "C0"), "beta_unguided": ("without guidance", "C1")}


def draw(parts: Figures, path: Path) -> None:
    """Write a figure with a panel for every measured part of ``result.json``."""
    panels = [
        (panel, parts)
        for panel, needed in (
            (speed_panel, {"speed"}),
            (conditioning_panel, {"conditioning"}),
            (copies_panel, {"conditioning"}),
            (adapter_panel, set(ADAPTER)),
        )
        if needed & set(parts)
    ]
    rows = -(-len(panels) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(10.5, 4.0 * rows), squeeze=False)
    for axis, (panel, found) in zip(axes.flat, panels, strict=False):
        panel(axis, found)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def bars(axis: Any, place: float, figure: Figures, scale: float, **style: Any) -> None:
    """Draw one value with its interval, lying."""
    value, low, high = (scale * figure[key] for key in ("value", "low", "high"))
    axis.plot([low, high], [place, place], "-", **{"color": "C0", **style, "label": None})
    axis.plot([value], [place], "o", **{"color": "C0", **style})


def speed_panel(axis: Any, parts: Figures) -> None:
    """How far the compared preset is from the paper's in KID, against the bound of a tenth of the baseline."""
    found, names = parts["speed"], []
    for place, (name, label) in enumerate(PAIRS.items()):
        bars(axis, -place, found[f"kid_{name}"], 1000)
        names.append(f"{label}\n({found[f'kid_{name}']['n']:,} pairs)")
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.axvline(100 * found["paper"]["kid"], color="C3", linestyle="--", label="a tenth of the paper's KID")
    axis.set_yticks([-place for place in range(len(names))], names)
    axis.set_ylim(-len(PAIRS) + 0.5, 0.9)
    axis.set_xlabel("KID x 1000 minus the paper preset's")
    ratio = found["speed_ratio_ours"]["value"]
    axis.set_title(
        "Against the paper's preset" + (f": {ratio:.1f} times the images per second" if ratio else "")
    )
    axis.legend(fontsize=8, loc="upper left")


def conditioning_panel(axis: Any, parts: Figures) -> None:
    """How many samples are nearer to the lesion they were conditioned on, overall and by class."""
    found = parts["conditioning"]
    names = [*found["per_class"], "all"]
    for place, name in enumerate(names[:-1]):
        axis.plot([100 * found["per_class"][name]], [-place], "o", color="C7")
    bars(axis, -(len(names) - 1), found["nearer_to_own_lesion"], 100)
    axis.axvline(50, color="grey", linewidth=0.8)
    axis.axvline(80, color="C3", linestyle="--", label="asked for")
    axis.set_yticks([-place for place in range(len(names))], names)
    axis.set_xlim(45, 105)
    axis.set_xlabel("% of pairs")
    axis.set_title("Nearer to their own lesion\nthan samples of another of its class")
    axis.legend(fontsize=8)


def copies_panel(axis: Any, parts: Figures) -> None:
    """How many samples lie as near to a train image as photographs of one lesion do, beside unseen real lesions."""
    found = {name: view for name, view in parts["conditioning"]["copies"].items() if isinstance(view, dict)}
    for place, view in enumerate(found.values()):
        bars(axis, -place + 0.12, view["samples"], 100, label="samples" if place == 0 else None)
        bars(
            axis,
            -place - 0.12,
            view["unseen_real"],
            100,
            color="C7",
            label="unseen real" if place == 0 else None,
        )
    axis.set_yticks([-place for place in range(len(found))], list(found))
    axis.set_xlabel("% nearer to a train image than 95 % of\nphotographs of one lesion are to each other")
    axis.set_title("Copies?")
    axis.legend(fontsize=8)


def adapter_panel(axis: Any, parts: Figures) -> None:
    """What the adapter does to KID, by class."""
    shown = [name for name in ADAPTER if name in parts]
    names = list(parts[shown[0]]["kid_on_minus_off"])
    for shift, part in enumerate(shown):
        label, color = ADAPTER[part]
        for place, name in enumerate(names):
            figure = parts[part]["kid_on_minus_off"][name]
            first = label if place == 0 else None
            bars(axis, -place - 0.24 * shift + 0.12, figure, 1000, color=color, label=first)
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_yticks([-place for place in range(len(names))], names)
    axis.set_xlabel("KID x 1000, adapter on minus off")
    axis.set_title("The adapter, by class")
    axis.legend(fontsize=8)
