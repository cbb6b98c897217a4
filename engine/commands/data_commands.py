"""`hardcase data describe | split | preview`: what a config's data set holds, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.artifacts import duplicates
from engine.artifacts import split as split_file
from engine.artifacts.split import SplitFacts
from engine.artifacts.whole_files import whole_file
from engine.commands.data_sheet import class_sheet
from engine.config import Config
from engine.data.fingerprint import fingerprint
from engine.data.readers.image_names import left_out_line
from engine.data.table import groups_line, n_grouped
from engine.errors import ConfigError
from engine.parts.dataset import Dataset, open_dataset
from engine.pipeline import Pipeline
from engine.pipeline.foundation import lay_data
from engine.pipeline.pipeline import NoRoles
from engine.store import StageRunner, copy_file, write_json
from engine.types import SPLITS, FloatArray, StrArray

SHOWN_SKIPPED = 10
PREVIEW_COLUMNS = 12


class _Writer(Protocol):
    def __call__(self, path: Path) -> None: ...


def describe(
    config: Config, runner: StageRunner, console: Console, *, json_path: Path | None = None
) -> dict[str, Any]:
    """Print (and write to ``json_path``) what the data set holds after decoding and splitting; returns that object.

    Args:
        config: a validated config; only ``data`` and ``seed`` matter.
        runner: runs the stages ``images`` and ``split``, or finds them in the cache.
        console: where the tables go.
        json_path: file for the figures, or None.

    Raises:
        DataError: the data is missing, broken or inconsistent.
        ConfigError: ``json_path`` cannot be written.
    """
    images, split = data_stages(config, runner)
    dataset = open_dataset(images, split)
    figures = _figures(dataset, split_file.read_facts(split), len(duplicates.read_frame(images)))
    _print_counts(figures, console)
    _print_malignant(config.data.malignant, dataset.classes, console)
    _print_coverage(figures, console)
    if json_path is not None:
        _write(json_path, lambda path: write_json(path, figures))
        console.print(f"figures  {json_path}")
    return figures


def split(config: Config, runner: StageRunner, console: Console, *, out: Path | None = None) -> Path:
    """Print the split's counts and copy ``split.parquet`` (image_id, lesion_id, dx, split, group) to ``out``.

    Returns the file: ``out``, or the cached one. Raises as ``describe`` does.
    """
    images, parts = data_stages(config, runner)
    dataset = open_dataset(images, parts)
    facts, table = split_file.read_facts(parts), split_file.SCHEMA.path(parts)
    _print_counts(_figures(dataset, facts, 0), console)
    console.print(f"digest   {facts.digest}")
    if out is None:
        return table
    _write(out, lambda path: copy_file(table, path))
    console.print(f"split    {out}")
    return out


def preview(config: Config, runner: StageRunner, console: Console, *, out: Path) -> Path:
    """Write a PNG contact sheet: a row per class, one image a lesion, the lesion mask outlined; returns ``out``.

    Raises as ``describe`` does.
    """
    dataset = open_dataset(*data_stages(config, runner))
    sheet = class_sheet(dataset, PREVIEW_COLUMNS)

    def save(path: Path) -> None:
        with whole_file(path) as partial:
            sheet.save(partial, format="PNG")

    _write(out, save)
    console.print(f"preview  {out} (green: the lesion mask, where there is one)")
    return out


def data_stages(config: Config, runner: StageRunner) -> tuple[Path, Path]:
    """Run ``images`` and ``split`` under the keys a run of this config gives them."""
    pipeline = Pipeline(config, runner, NoRoles(), fingerprint(config.data, runner.cache.root))
    lay_data(pipeline)
    return pipeline.stages["images"].path, pipeline.stages["split"].path


def _write(path: Path, write: _Writer) -> None:
    try:
        write(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}); give another file"
        ) from None


def _figures(dataset: Dataset, split_facts: SplitFacts, pairs: int) -> dict[str, Any]:
    """Return the JSON object of ``describe``."""
    table, facts = dataset.table, dataset.facts
    parts = [part for part in SPLITS if np.any(table.split == part)]
    return {
        "classes": list(dataset.classes),
        "n_images": facts.n_images,
        "n_lesions": facts.n_lesions,
        "n_used": len(table),
        "unlabelled": split_facts.unlabelled,
        "held_back": split_facts.left_out,
        "image_size": facts.image_size,
        "grouped_by": facts.grouped_by,
        "counts": {part: _by_class(dataset, part) for part in parts},
        "lesions": {part: _by_class(dataset, part, lesions=True) for part in parts},
        "views_per_lesion": round(len(table) / len(np.unique(table.lesion_id)), 3),
        "age": _age(table.age),
        "median_age": {dx: _age(table.age[table.dx == dx])["median"] for dx in dataset.classes},
        "sex": _values(table.sex),
        "localization": _values(table.localization),
        "skin_type": _values(table.skin_type),
        "masks": facts.masks,
        "skipped": list(facts.skipped),
        "left_out": facts.left_out,
        "notes": list(facts.notes),
        "n_grouped": n_grouped(table),
        "duplicate_pairs": pairs,
        "digest": facts.digest,
        "split_digest": split_facts.digest,
    }


def _by_class(dataset: Dataset, part: str, *, lesions: bool = False) -> dict[str, int]:
    table = dataset.table
    rows = {dx: (table.split == part) & (table.dx == dx) for dx in dataset.classes}
    return {dx: len(np.unique(table.lesion_id[at])) if lesions else int(at.sum()) for dx, at in rows.items()}


def _age(age_N: FloatArray) -> dict[str, float | int | None]:
    known = age_N[~np.isnan(age_N)]
    figures = (known.min(), np.median(known), known.max()) if len(known) else (None, None, None)
    low, median, high = (None if v is None else float(v) for v in figures)
    return {
        "known": len(known),
        "missing": len(age_N) - len(known),
        "min": low,
        "median": median,
        "max": high,
    }


def _values(column_N: StrArray) -> dict[str, Any]:
    """Counts of each value, most frequent first; unknown apart."""
    known = column_N[(column_N != "") & (column_N != "unknown")]
    names, counts = np.unique(known, return_counts=True)
    order = sorted(range(len(names)), key=lambda i: (-int(counts[i]), str(names[i])))
    values = {str(names[i]): int(counts[i]) for i in order}
    return {"known": len(known), "missing": len(column_N) - len(known), "values": values}


def _print_counts(figures: dict[str, Any], console: Console) -> None:
    parts = list(figures["counts"])
    table = Table(title="Images (lesions) by class and part")
    table.add_column("class")
    for heading in (*parts, "all"):
        table.add_column(heading, justify="right")
    for dx in figures["classes"]:
        pairs = [(figures["counts"][part][dx], figures["lesions"][part][dx]) for part in parts]
        pairs.append((sum(p[0] for p in pairs), sum(p[1] for p in pairs)))
        table.add_row(dx, *(f"{images} ({lesions})" for images, lesions in pairs))
    console.print(table)
    console.print(
        f"{figures['n_used']} of {figures['n_images']} images in use, {figures['n_lesions']} lesions, "
        f"{figures['views_per_lesion']:.2f} images per lesion; grouped by {figures['grouped_by']}"
    )
    if figures["unlabelled"]:
        console.print(f"{figures['unlabelled']} images without a diagnosis beside them, to ask about")
    if figures["held_back"]:
        console.print(f"{figures['held_back']} images in no part, because of where their group lies")
    if figures["grouped_by"] == "image":
        console.print(groups_line(figures["n_grouped"], figures["n_used"]))


def _print_malignant(names: Sequence[str], classes: Sequence[str], console: Console) -> None:
    """Say which classes count as malignant, and which names of ``data.malignant`` are no class of these data."""
    there, absent = (", ".join(n for n in names if (n in classes) is known) for known in (True, False))
    also = f"; data.malignant also names {absent}, no class of these data" if absent else ""
    console.print(f"malign   {there or 'no class'}{also}", markup=False)


def _print_coverage(figures: dict[str, Any], console: Console) -> None:
    age, total = figures["age"], max(1, figures["n_used"])
    if age["known"]:
        console.print(
            f"age      known for {age['known'] / total:.1%}: {age['min']:g} to {age['max']:g}, median {age['median']:g}"
        )
    else:
        console.print("age      unknown")
    for key, name in (("sex", "sex"), ("localization", "site"), ("skin_type", "skin")):
        known = figures[key]["known"]
        values = ", ".join(f"{value} {count}" for value, count in list(figures[key]["values"].items())[:8])
        console.print(f"{name:8s} " + (f"known for {known / total:.1%}: {values}" if known else "unknown"))
    console.print("masks    " + ", ".join(f"{count} {kind}" for kind, count in figures["masks"].items()))
    console.print(f"pairs    {figures['duplicate_pairs']} near-duplicate images under different lesion ids")
    if figures["left_out"]:
        console.print(f"left out {left_out_line(figures['left_out'])}")
    for note in figures["notes"]:
        console.print(f"note     {note}", markup=False, highlight=False)
    skipped = figures["skipped"]
    console.print(f"skipped  {len(skipped)}")
    for item in skipped[:SHOWN_SKIPPED]:
        console.print(f"  {item['image_id']}: {item['reason']}", markup=False)
    if len(skipped) > SHOWN_SKIPPED:
        console.print(f"  and {len(skipped) - SHOWN_SKIPPED} more")
