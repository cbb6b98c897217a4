"""What a data set holds: the figures of `hardcase data describe`, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.artifacts.decoded_images import DataFacts
from engine.artifacts.split import SplitFacts
from engine.data.readers.image_names import left_out_line
from engine.data.table import groups_line, groups_of_some, n_grouped
from engine.types import SPLITS, FloatArray, LesionTable, StrArray

SHOWN_SKIPPED = 10
UNDIVIDED = "no split"
"""The heading of images that cannot be split."""


def figures_of(table: LesionTable, facts: DataFacts, split: SplitFacts | None, pairs: int) -> dict[str, Any]:
    """Return the JSON object of ``describe``; without a split what it says of the parts is left empty."""
    parts = [part for part in (*SPLITS, UNDIVIDED) if np.any(table.split == part)]
    classes = facts.classes
    return {
        "classes": list(classes),
        "n_images": facts.n_images,
        "n_lesions": facts.n_lesions,
        "n_used": len(table),
        "n_used_lesions": len(np.unique(table.lesion_id)),
        "unlabelled": facts.unlabelled if split is None else split.unlabelled,
        "held_back": 0 if split is None else split.left_out,
        "image_size": facts.image_size,
        "grouped_by": groups_of_some(table, facts.grouped_by),
        "counts": {part: _by_class(table, classes, part) for part in parts},
        "lesions": {part: _by_class(table, classes, part, whole=True) for part in parts},
        "views_per_lesion": round(len(table) / len(np.unique(table.lesion_id)), 3),
        "age": _age(table.age),
        "median_age": {dx: _age(table.age[table.dx == dx])["median"] for dx in classes},
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
        "split_digest": "" if split is None else split.digest,
    }


def _by_class(
    table: LesionTable, classes: Sequence[str], part: str, *, whole: bool = False
) -> dict[str, int]:
    """Count images, or (``whole``) lesions, per class in a part."""
    rows = {dx: (table.split == part) & (table.dx == dx) for dx in classes}
    return {dx: len(np.unique(table.lesion_id[at])) if whole else int(at.sum()) for dx, at in rows.items()}


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


def print_figures(figures: dict[str, Any], malignant: Sequence[str], console: Console) -> None:
    """Print the figures of ``describe``; ``malignant`` are the names of ``data.malignant``."""
    print_counts(figures, console)
    _print_malignant(malignant, figures["classes"], console)
    _print_coverage(figures, console)


def print_counts(figures: dict[str, Any], console: Console) -> None:
    """Print images and lesions per class and part, and how many are in use."""
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
        f"{figures['n_used']} of {figures['n_images']} images in use, {figures['n_used_lesions']} lesions, "
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
    """Print what is known of age, sex, site and skin, and what was masked, paired, left out and skipped."""
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
