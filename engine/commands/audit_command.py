"""`hardcase data audit`: near-duplicates, label conflicts, broken masks and leaky columns of a config's data set."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.artifacts import decoded_images, duplicates, lesions
from engine.artifacts import split as split_file
from engine.artifacts.decoded_images import DataFacts
from engine.commands.audit_sheet import masks_sheet, pairs_sheet
from engine.commands.data_commands import stages_or_problem
from engine.commands.output_folder import new_folder, writable_file
from engine.config import Config
from engine.data.audit.columns import ColumnFinding, column_findings, metadata_columns
from engine.data.audit.findings import MaskFinding, lesion_conflicts, mask_findings, suspicious_pairs
from engine.data.readers.image_names import left_out_line
from engine.errors import DataError
from engine.store import StageRunner, write_json
from engine.types import ImageArray, LesionTable, strings

SHOWN = 12
DRAWN = 60
LABEL_COLUMN = {"ham10000": "dx"}
SCORE = (
    "correlation of fine detail after registration, 0 to 1; equal pixels have 1; of same_lesion "
    f"k / (k + {duplicates.HALF}) for k keypoints that agree; higher is more suspicious"
)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the audit found; ``pairs`` and ``conflicts`` as they stand in the JSON."""

    pairs: list[dict[str, Any]]
    conflicts: list[dict[str, Any]]
    masks: list[MaskFinding]
    columns: list[ColumnFinding]


def audit(
    config: Config,
    runner: StageRunner,
    console: Console,
    *,
    json_path: Path | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Print (and write to ``json_path``) what is suspicious in the data set; returns that object.

    The pairs are those of the stage ``images``; ``data.split.merge_duplicates`` keeps those together that are sure.

    Args:
        config: a validated config; only ``data`` and ``seed`` matter.
        runner: runs the stages ``images`` and ``split``, or finds them in the cache.
        console: where the tables go.
        json_path: file for the findings, or None.
        out: folder to make with pictures of pairs and masks side by side, or None.

    Raises:
        DataError: the data is missing, broken or inconsistent, or a place cannot be written to. Where only the split
            cannot be made, all findings are written first.
    """
    start = time.monotonic()
    if json_path is not None:
        writable_file(json_path, "--json")
    with ExitStack() as stack:
        folder = None if out is None else stack.enter_context(new_folder(out))
        images, split = stages_or_problem(config, runner)
        table = _table(images, None if isinstance(split, DataError) else split)
        facts, masks_NHW = decoded_images.read(images), decoded_images.open_masks(images)
        findings = Findings(
            pairs=suspicious_pairs(duplicates.read_frame(images), table),
            conflicts=lesion_conflicts(table),
            masks=_masks(table, masks_NHW, facts.masks["file"], console),
            columns=_columns(config, table),
        )
        figures = _figures(config, table, facts, findings)
        if folder is not None:
            _draw(folder, images, table, findings, config.data.fit)
    figures["seconds"] = round(time.monotonic() - start, 1)
    _print(figures, console)
    if json_path is not None:
        write_json(json_path, figures)
        console.print(f"findings {json_path}")
    if out is not None:
        console.print(f"pictures {out}")
    if isinstance(split, DataError):
        raise split
    return figures


def _table(images: Path, split: Path | None) -> LesionTable:
    """Return all images, ``split`` filled with the part each lies in ("" where it is not used, or nothing is split)."""
    table = lesions.read(images)
    if split is None:
        return table.replace(split=strings([""] * len(table)))
    parts = split_file.read(split)
    part_of = dict(zip(parts.image_id.tolist(), parts.split.tolist(), strict=True))
    return table.replace(split=strings([part_of.get(name, "") for name in table.image_id.tolist()]))


def _masks(table: LesionTable, masks_NHW: ImageArray, from_file: int, console: Console) -> list[MaskFinding]:
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("masks", total=len(table))
        return mask_findings(
            table, masks_NHW, from_file, lambda _, done, total: bars.update(task, completed=done, total=total)
        )


def _columns(config: Config, table: LesionTable) -> list[ColumnFinding]:
    label = LABEL_COLUMN.get(config.data.format, config.data.columns.label)
    return column_findings(metadata_columns(config.data.root, table, label), table, config.seed)


def _figures(config: Config, table: LesionTable, facts: DataFacts, findings: Findings) -> dict[str, Any]:
    """Return the JSON object of the audit."""
    pairs = findings.pairs
    return {
        "n_images": len(table),
        "n_lesions": len(np.unique(table.lesion_id)),
        "grouped_by": facts.grouped_by,
        "image_size": facts.image_size,
        "left_out": facts.left_out,
        "merge_duplicates": config.data.split.merge_duplicates,
        "second_photographs": config.data.find_second_photographs,
        "score": SCORE,
        "counts": {
            "pairs": len(pairs),
            "by_kind": dict(Counter(pair["kind"] for pair in pairs)),
            "pairs_less_sure": sum(not pair["sure"] for pair in pairs),
            "pairs_across_splits": sum(pair["across_splits"] for pair in pairs),
            "pairs_with_two_diagnoses": sum(pair["label_conflict"] for pair in pairs),
            "lesions_with_two_diagnoses": len(findings.conflicts),
            "masks": dict(Counter(mask.problem for mask in findings.masks)),
            "leaky_columns": sum(column.verdict == "leaks" for column in findings.columns),
        },
        "pairs": pairs,
        "lesion_conflicts": findings.conflicts,
        "masks": [asdict(mask) for mask in findings.masks],
        "columns": [asdict(column) for column in findings.columns],
    }


def _draw(folder: Path, images: Path, table: LesionTable, findings: Findings, fit: str) -> None:
    """Write ``pairs.png`` and ``masks.png``, each where there is something to show."""
    if findings.pairs:
        cached_NHWC = decoded_images.open_images(images)
        pairs_sheet(findings.pairs[:DRAWN], table, cached_NHWC, fit).save(folder / "pairs.png")
    with_file = [mask for mask in findings.masks if mask.coverage is not None]
    if with_file and np.any(table.mask_path != ""):
        masks_sheet(with_file[:DRAWN], table).save(folder / "masks.png")


def _print(figures: dict[str, Any], console: Console) -> None:
    counts = figures["counts"]
    _print_pairs(figures, console)
    for conflict in figures["lesion_conflicts"][:SHOWN]:
        console.print(f"lesion {conflict['lesion_id']} has two diagnoses: {', '.join(conflict['images'])}")
    if counts["masks"]:
        said = ", ".join(f"{count} {problem}" for problem, count in sorted(counts["masks"].items()))
        console.print(f"masks    {said} of {figures['n_images']}")
        for mask in [m for m in figures["masks"] if m["problem"] != "missing"][:SHOWN]:
            share = "" if mask["coverage"] is None else f", {mask['coverage']:.2%} of the frame"
            console.print(f"         {mask['image_id']}: {mask['problem']}{share}")
    else:
        console.print("masks    nothing suspicious")
    if figures["left_out"]:
        console.print(f"left out {left_out_line(figures['left_out'])}")
    _print_columns(figures["columns"], console)
    console.print(
        f"{counts['pairs']} pair(s) under different lesion ids, {counts['pairs_with_two_diagnoses']} with two diagnoses, "
        f"{counts['pairs_across_splits']} across parts; {counts['lesions_with_two_diagnoses']} lesion(s) with two "
        f"diagnoses; {sum(counts['masks'].values())} mask(s); {counts['leaky_columns']} leaky column(s); "
        f"{figures['seconds']:.0f} s"
    )
    if counts["pairs_less_sure"]:
        console.print(
            f"{counts['pairs_less_sure']} of the pairs are less sure: merge_duplicates does not join them; look at them "
            "with --out, and give images of one lesion one lesion id"
        )
    if not figures["second_photographs"]:
        console.print("data.find_second_photographs is off: only near-copies were sought")
    if counts["pairs"] and not figures["merge_duplicates"]:
        console.print("data.split.merge_duplicates is off: these pairs may lie in two parts of the split")


def _print_pairs(figures: dict[str, Any], console: Console) -> None:
    pairs = figures["pairs"]
    if not pairs:
        console.print("pairs    no near-duplicates under different lesion ids")
        return
    table = Table(title=f"Most suspicious of {len(pairs)} pairs (score: {figures['score'].split(';')[0]})")
    for heading in ("score", "kind", "first image", "second image"):
        table.add_column(heading, no_wrap=True)
    for pair in pairs[:SHOWN]:
        place = pair["transformation"]
        images = (
            f"{pair[f'image_id_{k}']}\n{pair[f'lesion_id_{k}']} {pair[f'dx_{k}']} {pair[f'split_{k}'] or '-'}"
            for k in (1, 2)
        )
        moved = f"{place['turn']}, zoom {place['zoom']:.2f}"
        kind = pair["kind"] if pair["sure"] else f"{pair['kind']}, less sure"
        table.add_row(f"{pair['score']:.3f}", f"{kind}\n{moved}", *images)
    console.print(table)


def _print_columns(columns: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="What metadata columns say of the diagnosis (one image a lesion, cross-validated)")
    for heading in ("column", "verdict", "explains", "balanced accuracy", "values", "hardcase reads it"):
        table.add_column(heading)
    for column in columns[:SHOWN]:
        explains = "" if column["explained"] is None else f"{column['explained']:.1%}"
        accuracy = column["balanced_accuracy"]
        guessed = "" if accuracy is None else f"{accuracy:.1%} (chance {column['chance']:.1%})"
        read = "yes" if column["read"] else "no"
        table.add_row(column["column"], column["verdict"], explains, guessed, str(column["values"]), read)
    console.print(table)
