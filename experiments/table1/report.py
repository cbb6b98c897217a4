"""Collects the sets of Table I: means beside the paper's numbers, contrasts over training sets, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from engine.artifacts.whole_files import write_text
from engine.store.files import write_json
from engine.study.contrasts import PRIMARY, Study
from engine.study.record import study_record
from experiments.lib.contrasts_plot import draw_contrasts
from experiments.lib.keeping import require_same
from experiments.lib.outcomes import DRAWS
from experiments.lib.study_beside import challenging
from experiments.lib.study_tables import challenging_lines, class_lines, percent, study_lines
from experiments.table1.models import by_model, conditions, model_lines
from experiments.table1.plan import MODELS, ROWS
from experiments.table1.studies import (
    PRIMARY_TABLE,
    Table,
    average,
    commits,
    compare,
    finished,
    tables,
    unfinished,
)
from experiments.table1.tried import tried

PAPER = {
    "Origin250": {"vgg13": 83.24, "vgg16": 83.79, "vgg19": 86.55, "resnet18": 83.51, "resnet34": 83.95},
    "Origin500": {"vgg13": 84.63, "vgg16": 85.23, "vgg19": 87.55, "resnet18": 88.43, "resnet34": 89.32},
    "Synthetic500": {"vgg13": 82.75, "vgg16": 83.98, "vgg19": 86.21, "resnet18": 88.21, "resnet34": 89.14},
    "Hybrid1000": {"vgg13": 89.64, "vgg16": 90.03, "vgg19": 90.31, "resnet18": 89.85, "resnet34": 90.54},
}
"""Accuracy, % (Kim et al., Table I); the paper does not say how many sets, which split, or what
the generator saw."""
BESIDE = {PRIMARY: "malignant sensitivity", "balanced_accuracy": "balanced accuracy"}
"""What the table shows of ResNet18 beside accuracy."""


def collect(folder: Path, draws: int = DRAWS) -> Path:
    """Write result.json, table.md, table.png, contrasts.png and tried.md of all sets in ``folder``; return the folder.

    Args:
        folder: where the sets' files are.
        draws: bootstrap draws of lesions.

    Raises:
        ConfigError: two sets of one table have different configs.
    """
    kept: dict[tuple[str, str], dict[int, Table]] = {}
    for number, part, label, table in tables(folder):
        kept.setdefault((part, label), {})[number] = table
    entries, lines = (
        [],
        [
            "# Table I",
            "",
            "Written by `python -m experiments.table1 collect` from the sets beside this file.",
            "",
        ],
    )
    for (part, label), sets in sorted(kept.items()):
        entry, study = summarize(part, label, sets, draws)
        if entry["primary"] and study is not None:
            draw_contrasts(study, folder / "contrasts.png")
        entries.append(entry)
        lines += markdown(entry, study)
    of_development = {label: sets for (part, label), sets in kept.items() if part == "development"}
    settings, tried_lines = tried(of_development)
    if settings:
        write_text(folder / "tried.md", "\n".join(tried_lines))
    write_json(folder / "result.json", {"tables": entries, "tried": settings})
    write_text(folder / "table.md", "\n".join(lines) + "\n")
    if entries:
        draw(max(entries, key=lambda entry: (entry["primary"], len(entry["means"]))), folder / "table.png")
    return folder


def summarize(
    part: str, label: str, sets: Mapping[int, Table], draws: int
) -> tuple[dict[str, Any], Study | None]:
    """Return one table's object of result.json, and its study.

    Raises:
        ConfigError: two of the sets have different configs.
    """
    first = sets[min(sets)]
    for number, table in sets.items():
        what = f"set {number}, {part}, table {label!r}"
        require_same(first["config"], table["config"], what, "run it again, or move its file away")
    confirms = part == "confirm"
    done = finished(sets) if confirms else sets
    study = compare(list(done.values()), unfinished(done) if confirms else "", draws)
    entry: dict[str, Any] = {
        "part": part,
        "label": label,
        "sets": sorted(sets),
        "means": average(list(sets.values())),
        "primary": (part, label) == ("confirm", PRIMARY_TABLE),
        "commits": commits(list(sets.values())),
    }
    if entry["primary"] and study is not None:
        entry["beside"] = challenging([table.get("arms", {}) for table in done.values()], study.design)
    entry["study"] = study and study_record(study, [{} for _ in study.runs])
    entry["conditions"] = conditions(first)
    entry["by_model"] = by_model(first, draws) if confirms and len(sets) == 1 else {}
    return entry, study


def markdown(entry: Mapping[str, Any], study: Study | None) -> list[str]:
    """Return one table as lines: accuracy in % by row and model, the paper's in brackets, and the endpoint."""
    models = [m for m in MODELS if any(name.startswith(f"{m} |") for name in entry["means"])]
    sets = ", ".join(map(str, entry["sets"]))
    scored = "test" if entry["part"] == "confirm" else "val"
    kind = "primary" if entry["primary"] else "exploratory"
    lines = [f"## {entry['label']}, {entry['part']}: {kind} (sets {sets}; scored on {scored})", ""]
    lines += [
        *entry["conditions"],
        "Accuracy, % (the paper's in brackets), mean over a row's sets. Images: what room and gates leave of 500.",
        "",
    ]
    lines += [
        f"| row | sets | real + synthetic images | {' | '.join(models)} | ResNet18: {' | '.join(BESIDE.values())} |"
    ]
    lines += ["|---" * (len(models) + len(BESIDE) + 3) + "|"]
    for row in ROWS:
        cells = [entry["means"].get(f"{model} | {row}") for model in models]
        if any(cells):
            texts = [_accuracy(cell, row, model) for cell, model in zip(cells, models, strict=True)]
            first = entry["means"].get(f"resnet18 | {row}")
            texts += [percent(first[name] if first else None) for name in BESIDE]
            one = next(filter(None, cells))
            counts = f"{one['n_sets']} | {one['n_real']:.0f} + {one['n_synthetic']:.0f}"
            lines.append(f"| {row} | {counts} | {' | '.join(texts)} |")
    lines += ["", f"Made by {', '.join(entry['commits'])}.", ""]
    lines += model_lines(entry["by_model"], PAPER) or study_lines(study)
    if entry["primary"] and study is not None:
        lines += ["", *challenging_lines(entry["beside"]), *class_lines(study)]
    return [*lines, ""]


def _accuracy(cell: Mapping[str, Any] | None, row: str, model: str) -> str:
    paper = PAPER.get(row, {}).get(model)
    return percent(cell["accuracy"] if cell else None) + (f" ({paper})" if paper is not None and cell else "")


def draw(entry: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy by row, one line of markers per model, the paper's hollow."""
    models = [m for m in MODELS if any(name.startswith(f"{m} |") for name in entry["means"])]
    figure, axis = plt.subplots(figsize=(9, 4.5))
    for k, model in enumerate(models):
        place = np.arange(len(ROWS)) + 0.12 * (k - (len(models) - 1) / 2)
        ours = [entry["means"].get(f"{model} | {row}", {}).get("accuracy") for row in ROWS]
        axis.plot(place, [math.nan if v is None else 100 * v for v in ours], "o", color=f"C{k}", label=model)
        theirs = [PAPER.get(row, {}).get(model, math.nan) for row in ROWS]
        axis.plot(place, theirs, "o", color=f"C{k}", markerfacecolor="none")
    axis.set_xticks(range(len(ROWS)), [row.replace(" ", "\n") for row in ROWS], fontsize=8)
    axis.set_ylabel("accuracy, %")
    axis.set_title(
        f"{entry['label']}, {entry['part']}:\nours filled, Kim et al. hollow (another split)", fontsize=10
    )
    axis.legend(fontsize=8, ncols=len(models))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
