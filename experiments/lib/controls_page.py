"""Shows the controls of a planted blind spot: the table in Markdown and the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np

from engine.arms import ARMS, ENGINE
from experiments.lib.controls import WINS

Found = Mapping[str, Any]
LABELS: Final = {
    "malignant.auc": "malignant AUROC",
    "malignant.sensitivity": "malignant sensitivity",
    "nll": "log loss x 100",
    "balanced_accuracy": "balanced accuracy",
    "subtype.auc": "AUROC, subtype",
    "subtype.sensitivity": "sensitivity, subtype",
}
COLOURS: Final = {"positive": "#0b5cad", "negative": "#5a6068"}


def table(shown: Mapping[str, Found], answer: Found) -> list[str]:
    """Return table.md's lines: the verdict, what was found and made, every arm, and ``hard`` minus each."""
    lines = ["# A planted blind spot", "", f"**{answer['sentence']}**", ""]
    for control, found in shown.items():
        seeds = ", ".join(map(str, found["seeds"]))
        lines += [f"## {control.capitalize()} control", "", f"Seeds {seeds}. {_checks(answer[control])}", ""]
        lines += [*_mining_lines(found), *_arm_lines(found), *_difference_lines(found)]
    return lines[:-1]


def _checks(answer: Found) -> str:
    told = [f"{name}: {'yes' if value else 'no'}" for name, value in answer.items() if name != "seeds"]
    return "; ".join(told) + "."


def _mining_lines(found: Found) -> list[str]:
    rows = [
        ("enrichment of the subtype among mined lesions, times", found["found"]["all"], 1.0),
        ("enrichment within its class, times", found["found"]["class"], 1.0),
    ]
    for kind, counts in found["made"].items():
        if "hard minus random" in counts:
            shares = " and ".join(f"{100 * counts[arm]:.1f}" for arm in (ENGINE, "random"))
            name = f"{kind} images with a parent of the subtype, % ({shares}), hard minus random"
            rows.append((name, counts["hard minus random"], 100.0))
    lines = ["| | mean | 95 % t interval | bootstrap | seeds above |", "|---|---|---|---|---|"]
    for name, value, scale in rows:
        low, high = (scale * value["bootstrap"][end] for end in ("low", "high"))
        lines.append(
            f"| {name} | {scale * value['value']:.2f} | {scale * value['low']:.2f} to {scale * value['high']:.2f} "
            f"| {low:.2f} to {high:.2f} | {value['above']} of {len(value['by_seed'])} |"
        )
    return [*lines, ""]


def _arm_lines(found: Found) -> list[str]:
    lines = [
        "Means over seeds, %; log loss x 100.",
        "",
        "| arm | " + " | ".join(LABELS.values()) + " |",
        "|---" * (len(LABELS) + 1) + "|",
    ]
    for arm in _in_order(found["arms"]):
        cells = ["" if (v := found["arms"][arm][name]) is None else f"{100 * v:.1f}" for name in LABELS]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def _difference_lines(found: Found) -> list[str]:
    lines = [
        "`hard` minus each arm, points (log loss x 100: less is better): mean, 95 % t interval, seeds above 0.",
        "",
        "| minus | " + " | ".join(LABELS.values()) + " |",
        "|---" * (len(LABELS) + 1) + "|",
    ]
    for arm in _in_order(found["hard_minus"]):
        cells = [_points(found["hard_minus"][arm][name]) for name in LABELS]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def _points(value: Found | None) -> str:
    if value is None:
        return ""
    mean, low, high = (100 * value[name] for name in ("value", "low", "high"))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f}; {value['above']})"


def _in_order(arms: Mapping[str, Any]) -> list[str]:
    return [arm for arm in ARMS if arm in arms]


def draw(shown: Mapping[str, Found], path: Path) -> None:
    """Draw enrichment, what was made, and ``hard`` minus ``random``: dots are seeds, bars 95 % t intervals of the mean."""
    figure, axes = plt.subplots(1, 2 + len(WINS), figsize=(3.1 * (2 + len(WINS)), 2.6), sharey=True)
    for place, (control, found) in enumerate(shown.items()):
        for axis, (title, nothing, value) in zip(axes, _panels(found), strict=True):
            axis.set_title(title, fontsize=9)
            axis.tick_params(labelsize=8)
            axis.axvline(nothing, color="0.6", linewidth=0.8)
            if value is not None:
                scale = 100 if nothing == 0.0 else 1
                dots = scale * np.asarray(value["by_seed"])
                axis.plot(dots, np.full(len(dots), place + 0.18), ".", color="0.55", markersize=4)
                ends = [scale * value["low"], scale * value["high"]]
                axis.plot(ends, [place, place], "-", color=COLOURS[control], linewidth=2)
                axis.plot(scale * value["value"], place, "o", color=COLOURS[control], markersize=6)
    axes[0].set_yticks(range(len(shown)), list(shown))
    axes[0].set_ylim(-0.5, len(shown) - 0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panels(found: Found) -> list[tuple[str, float, Found | None]]:
    """Title, the value that means no effect, and the figure with its interval, of each panel."""
    made, gained = found["made"]["accepted"], found["hard_minus"].get("random", {})
    return [
        ("enrichment among mined lesions", 1.0, found["found"]["all"]),
        ("accepted images of the subtype,\nhard minus random, points", 0.0, made.get("hard minus random")),
        *((f"{LABELS[name]},\nhard minus random, points", 0.0, gained.get(name)) for name in WINS),
    ]
