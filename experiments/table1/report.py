"""Collects the sets of Table I: means beside the paper's numbers, contrasts over training sets, table and figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from engine.artifacts.whole_files import write_text
from engine.store.files import write_json
from engine.study.contrasts import ARM, PRIMARY, Contrast, Study, make_study
from engine.study.record import study_record
from engine.study.replicates import Replicate
from experiments.lib.contrasts_plot import draw_contrasts
from experiments.lib.keeping import require_same
from experiments.lib.outcomes import ENDPOINTS, read_set, unpack
from experiments.lib.study_beside import challenging
from experiments.lib.study_tables import challenging_lines, class_lines, points
from experiments.table1.models import by_model, conditions, model_lines
from experiments.table1.plan import CONFIRMING, MODELS, ROWS, SYNTHETIC
from experiments.table1.tried import tried

PAPER = {
    "Origin250": {"vgg13": 83.24, "vgg16": 83.79, "vgg19": 86.55, "resnet18": 83.51, "resnet34": 83.95},
    "Origin500": {"vgg13": 84.63, "vgg16": 85.23, "vgg19": 87.55, "resnet18": 88.43, "resnet34": 89.32},
    "Synthetic500": {"vgg13": 82.75, "vgg16": 83.98, "vgg19": 86.21, "resnet18": 88.21, "resnet34": 89.14},
    "Hybrid1000": {"vgg13": 89.64, "vgg16": 90.03, "vgg19": 90.31, "resnet18": 89.85, "resnet34": 90.54},
}
"""Accuracy, % (Kim et al., Table I); how many sets, which split and what the generator saw is not stated there."""
PRIMARY_TABLE = "own in total 64 px"
"""The table whose contrasts over confirming sets are the study's; all others are exploratory."""
BESIDE = {PRIMARY: "malignant sensitivity", "balanced_accuracy": "balanced accuracy"}
"""What the table shows of ResNet18 beside accuracy."""
DRAWS = 2000
"""Bootstrap draws of lesions (PROTOCOL.md)."""

Table = Mapping[str, Any]


def collect(folder: Path) -> Path:
    """Write result.json, table.md, table.png, contrasts.png and tried.md of all sets in ``folder``; return the folder."""
    kept: dict[tuple[str, str], dict[int, Table]] = {}
    for number, part, label, table in tables(folder):
        kept.setdefault((part, label), {})[number] = table
    result: dict[str, Any] = {"tables": []}
    lines = [
        "# Table I",
        "",
        "Written by `python -m experiments.table1 collect` from the sets beside this file.",
        "",
    ]
    for (part, label), sets in sorted(kept.items()):
        first = sets[min(sets)]
        for number, table in sets.items():
            what = f"set {number}, {part}, table {label!r}"
            require_same(first["config"], table["config"], what, "run it again, or move its file away")
        means = average(list(sets.values()))
        entry: dict[str, Any] = {"part": part, "label": label, "sets": sorted(sets), "means": means}
        entry["primary"] = (part, label) == ("confirm", PRIMARY_TABLE)
        entry["commits"] = commits(list(sets.values()))
        confirms = part == "confirm"
        done = finished(sets) if confirms else sets
        study = compare(list(done.values()), unfinished(done) if confirms else "")
        if entry["primary"] and study is not None:
            draw_contrasts(study, folder / "contrasts.png")
            entry["beside"] = challenging([table.get("arms", {}) for table in done.values()], study.design)
        entry["study"] = study and study_record(study, [{} for _ in study.runs])
        entry["conditions"] = conditions(first)
        entry["by_model"] = by_model(first, DRAWS) if confirms and len(sets) == 1 else {}
        result["tables"].append(entry)
        lines += markdown(entry, study)
    result["tried"], tried_lines = tried(
        {label: s for (part, label), s in kept.items() if part == "development"}
    )
    if result["tried"]:
        write_text(folder / "tried.md", "\n".join(tried_lines))
    write_json(folder / "result.json", result)
    write_text(folder / "table.md", "\n".join(lines) + "\n")
    if result["tables"]:
        fullest = max(result["tables"], key=lambda entry: (entry["primary"], len(entry["means"])))
        draw(fullest, folder / "table.png")
    return folder


def tables(folder: Path) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """Yield (set, part, label, table) of every kept table."""
    for path in sorted([*folder.glob("set_*.json"), *folder.glob("per_class_*.json")]):
        found = read_set(path)
        for label, table in found["tables"].items():
            yield found["set"], found["part"], label, table


def average(sets: Sequence[Table]) -> dict[str, dict[str, Any]]:
    """Return {cell: {endpoint: mean over sets, n_sets, n_real, n_synthetic}}; an endpoint undefined somewhere is null."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for table in sets for name in table["cells"]):
        cells = [table["cells"][name] for table in sets if name in table["cells"]]
        figures = {}
        for endpoint in ENDPOINTS:
            values = [cell["figures"][endpoint] for cell in cells]
            figures[endpoint] = None if None in values else float(np.mean(values))
        counts = {key: float(np.mean([cell[key] for cell in cells])) for key in ("n_real", "n_synthetic")}
        found[name] = {**figures, **counts, "n_sets": len(cells)}
    return found


def commits(sets: Sequence[Table]) -> list[str]:
    """Return the commits that made a table's cells, in the order of the sets; old cells know their table's alone."""
    cells = [cell.get("made", table) for table in sets for cell in table["cells"].values()]
    return list(dict.fromkeys(str(made["commit"]) for made in cells))


def finished(sets: Mapping[int, Table]) -> dict[int, Table]:
    """Return the sets in which ResNet18 has trained every arm of the config.

    A set that stopped half way has some contrasts and not others: the family that Holm's procedure is told of would shrink.
    """
    rows = {arm: f"resnet18 | {row}" for row, arm in SYNTHETIC.items()}
    return {
        number: table
        for number, table in sets.items()
        if all(rows[arm] in table["cells"] for arm in table["config"]["loop"]["arms"] if arm in rows)
    }


def unfinished(sets: Mapping[int, Table]) -> str:
    """Return why nothing may be claimed of these confirming sets yet, "" where they are complete (PROTOCOL.md)."""
    missing = [str(number) for number in CONFIRMING if number not in sets]
    return (
        f"{len(sets)} training sets; {', '.join(missing)} of the planned ones are missing" if missing else ""
    )


def compare(sets: Sequence[Table], objection: str) -> Study | None:
    """Return the study of ResNet18's arms over the sets that have hard and real; None with fewer than two."""
    found = replicates(sets)
    return make_study(found, draws=DRAWS, objection=objection) if len(found) > 1 else None


def replicates(sets: Iterable[Table]) -> list[Replicate]:
    """Return ResNet18's arms in each of the sets that have hard and real."""
    arms = {f"resnet18 | {row}": arm for row, arm in SYNTHETIC.items()}
    found = []
    for table in sets:
        outcomes = {arms[name]: cell["outcome"] for name, cell in table["cells"].items() if name in arms}
        if {"hard", "real"} <= set(outcomes):
            found.append(unpack(table["cases"], outcomes))
    return found


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


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def study_lines(study: Study | None) -> list[str]:
    """Return the answer and the contrasts of a study, in points."""
    if study is None:
        return ["Fewer than two training sets with the arms `hard` and `real`: no contrast yet."]
    lines = [
        f"**{study.answer.sentence}** {study.answer.reason}",
        "",
        f"`hard` minus each arm over {study.design.replicates} {study.design.unit}s, points, 95 % intervals:",
        "",
        "| minus | " + " | ".join(ENDPOINTS) + " | Holm p | claim |",
        "|---" * (len(ENDPOINTS) + 3) + "|",
    ]
    for baseline in study.arms:
        found = {name: study.contrast(name, baseline) for name in ENDPOINTS}
        first = found[PRIMARY]
        if baseline == ARM or first is None:
            continue
        p_holm = "" if first.adjusted_p is None else f"{first.adjusted_p:.3f}"
        cells = [_points(contrast) for contrast in found.values()]
        lines.append(f"| {baseline} | " + " | ".join([*cells, p_holm, first.claim or first.role]) + " |")
    return lines


def _points(contrast: Contrast | None) -> str:
    return points(None if contrast is None else vars(contrast.difference))


def draw(entry: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy by row, a line of markers a model, and the paper's as hollow ones."""
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
