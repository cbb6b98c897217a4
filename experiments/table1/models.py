"""Compares synthetic beside real images with real ones alone, model by model, on the one training set that a table has.

Exploratory (PROTOCOL.md): the intervals draw only the lesions of test, and another training set or seed may change a model's
figures by more than their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.study.contrasts import ARM, PRIMARY, make_study
from experiments.lib.outcomes import unpack
from experiments.table1.plan import MODELS

REAL, HYBRID = "Origin500", "Hybrid1000"
COMPARED = {"accuracy": "accuracy", PRIMARY: "malignant sensitivity"}

Table = Mapping[str, Any]


def conditions(table: Table) -> list[str]:
    """Return what sets a table apart from the study's: image size, what the generator saw, how many sets it will have."""
    config = table["config"]
    pixels = config.get("data", {}).get("image_size", 64)
    lines = []
    if pixels < 64:
        lines.append(f"On a CPU: {pixels} px instead of 64, one training set, one seed.")
    if config.get("loop", {}).get("generator_saw") == "train":
        lines.append(
            "The generator saw the whole pool, of which the classifier has 500 images: part of a difference may be other "
            "real images that reach the classifier through it."
        )
    return [*lines, ""] if lines else []


def by_model(table: Table, draws: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return {model: {figure: {real, hybrid, difference, low, high}}} of every model that has both rows; 95 % intervals."""
    found = {}
    for model in MODELS:
        cells = [table["cells"].get(f"{model} | {row}") for row in (REAL, HYBRID)]
        if None in cells or "cases" not in table:
            continue
        real, hybrid = cells
        run = unpack(table["cases"], {REAL: real["outcome"], ARM: hybrid["outcome"]})
        study = make_study([run], draws=draws)
        contrasts = {figure: study.contrast(figure, REAL) for figure in COMPARED}
        found[model] = {
            figure: {
                "real": real["figures"][figure],
                "hybrid": hybrid["figures"][figure],
                "difference": contrast.difference.value,
                "low": contrast.difference.low,
                "high": contrast.difference.high,
            }
            for figure, contrast in contrasts.items()
            if contrast is not None
        }
    return found


def model_lines(
    found: Mapping[str, Mapping[str, Mapping[str, float]]], paper: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Return ``by_model`` as Markdown, points, the paper's gain in accuracy beside ours."""
    if not found:
        return []
    lines = [
        f"{REAL} → {HYBRID} by model, %; in brackets the difference in points with its 95 % interval over the lesions of "
        "test. That interval does not know what another training set or seed would change.",
        "",
        "| model | " + " | ".join(COMPARED.values()) + " | the paper's gain in accuracy |",
        "|---" * (len(COMPARED) + 2) + "|",
    ]
    for model, figures in found.items():
        texts = [_change(figures.get(name)) for name in COMPARED]
        theirs = paper[HYBRID][model] - paper[REAL][model]
        lines.append(f"| {model} | {' | '.join(texts)} | {theirs:+.2f} |")
    return [*lines, ""]


def _change(figures: Mapping[str, float] | None) -> str:
    if figures is None:
        return ""
    before, after, *points = (100 * figures[name] for name in ("real", "hybrid", "difference", "low", "high"))
    value, low, high = points
    return f"{before:.1f} → {after:.1f} ({value:+.1f}, {low:+.1f} to {high:+.1f})"
