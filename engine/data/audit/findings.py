"""What is wrong with a data set's rows: suspicious pairs with their kind, label conflicts, broken masks.

Shape legend: N images, P pairs, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from engine.artifacts.duplicates import KEYPOINTS
from engine.data.decoding import ImageFileError, grey, open_picture, size_of, stored_sideways
from engine.data.duplicates.candidates import TURNS
from engine.data.masks import binary_mask
from engine.types import FloatArray, ImageArray, LesionTable

MOVED = 0.02
"""Log zoom, angle (radians) or shift (half frames) from which a pair counts as transformed."""
TINY = 0.01
WHOLE_FRAME = 0.99
PROPORTION = 0.05
"""Largest relative difference between the proportions of a mask and of its image."""

Progress = Callable[[str, int, int], None]
PairKind = Literal["exact", "near_duplicate", "transformed", "same_lesion"]


def pair_kind(pair: pd.Series) -> PairKind:
    """Name what a row of ``duplicates.parquet`` is.

    exact: equal pixels. near_duplicate: the same view, at most re-compressed, recoloured or retouched. transformed: the
    second image is mirrored, turned, zoomed or shifted. Whether it is a copy or a second photograph is for a person to see.
    same_lesion: pixels differ, but keypoints agree, so it is a second photograph.
    """
    if pair.get("by") == KEYPOINTS:
        return "same_lesion"
    if pair["exact"]:
        return "exact"
    place = [abs(float(pair[name])) for name in ("log_zoom", "angle", "shift_x", "shift_y")]
    return "transformed" if pair["turn"] != TURNS[0] or max(place) > MOVED else "near_duplicate"


def suspicious_pairs(duplicates: pd.DataFrame, table: LesionTable) -> list[dict[str, Any]]:
    """Return every pair as a JSON object, most suspicious first.

    ``score`` (higher is more suspicious) is the agreement of fine detail after registration, see
    ``registration.agreement``; equal pixels have 1. Of same_lesion it is k / (k + 8) for k keypoints that agree. ``sure``:
    whether ``data.split.merge_duplicates`` joins the pair.

    Args:
        duplicates: ``duplicates.parquet`` of the stage ``images``.
        table: all its images; ``split`` says in which part each lies ("" in none).
    """
    row = {str(name): position for position, name in enumerate(table.image_id)}
    pairs = []
    for _, pair in duplicates.iterrows():
        one, two = row[str(pair["image_id_1"])], row[str(pair["image_id_2"])]
        found: dict[str, Any] = {
            "image_id_1": str(pair["image_id_1"]),
            "image_id_2": str(pair["image_id_2"]),
            "score": round(1.0 - float(pair["distance"]), 4),
            "kind": pair_kind(pair),
            "sure": bool(pair.get("sure", True)),
            "transformation": {
                "turn": str(pair["turn"]),
                "zoom": round(float(np.exp(pair["log_zoom"])), 4),
                "angle_degrees": round(float(np.degrees(pair["angle"])), 2),
                "shift": [round(float(pair[name]) / 2, 4) for name in ("shift_x", "shift_y")],
            },
        }
        for name in ("lesion_id", "dx", "split"):
            column = getattr(table, name)
            found |= {f"{name}_1": str(column[one]), f"{name}_2": str(column[two])}
        found["across_splits"] = bool(
            found["split_1"] != found["split_2"] and found["split_1"] and found["split_2"]
        )
        found["label_conflict"] = bool(found["dx_1"] != found["dx_2"])
        pairs.append(found)
    return sorted(pairs, key=lambda p: (-p["score"], p["kind"] != "exact", p["image_id_1"], p["image_id_2"]))


def lesion_conflicts(table: LesionTable) -> list[dict[str, Any]]:
    """Return lesion ids whose images carry more than one diagnosis, with the images of each."""
    frame = pd.DataFrame({name: getattr(table, name) for name in ("lesion_id", "dx", "image_id")})
    several = frame.groupby("lesion_id")["dx"].transform("nunique") > 1
    return [
        {
            "lesion_id": str(lesion),
            "images": {str(dx): sorted(map(str, own["image_id"])) for dx, own in group.groupby("dx")},
        }
        for lesion, group in frame[several].groupby("lesion_id")
    ]


@dataclass(frozen=True, kw_only=True)
class MaskFinding:
    """One image's mask: what is wrong (``missing``, ``unreadable``, ``empty``, ``tiny``, ``whole_frame``, ``proportions``).

    ``coverage`` is the share of the frame inside it, None where it cannot be read.
    """

    image_id: str
    problem: str
    coverage: float | None


def mask_findings(
    table: LesionTable, cached_NHW: ImageArray, from_file: int, progress: Progress
) -> list[MaskFinding]:
    """Return every mask with a problem, in the order of the table.

    The files themselves are read, before anything is cut to squares or replaced. Data sets whose masks are arrays are
    looked at as cached; one without any mask has no findings.

    Args:
        table: all images.
        cached_NHW: ``masks.npy``.
        from_file: how many masks the data set itself gave (``data.json``: masks.file).
        progress: called as progress("masks", done, total).
    """
    if not np.any(table.mask_path != ""):
        return _cached_findings(table, cached_NHW) if from_file else []
    found = []
    for row, name in enumerate(table.image_id):
        problem, coverage = mask_problem(str(table.mask_path[row]), str(table.path[row]))
        if problem:
            found.append(MaskFinding(image_id=str(name), problem=problem, coverage=coverage))
        if row % 200 == 199 or row + 1 == len(table):
            progress("masks", row + 1, len(table))
    return found


def mask_problem(mask_path: str, image_path: str) -> tuple[str, float | None]:
    """Return what is wrong with a mask file ("" for nothing) and its coverage."""
    if not mask_path:
        return "missing", None
    try:
        mask_HW = binary_mask(np.asarray(grey(open_picture(mask_path).image), dtype=np.uint8))
        shapes = _shapes(image_path) if image_path else []
    except ImageFileError:
        return "unreadable", None
    coverage = float(np.mean(mask_HW > 0))
    problem = coverage_problem(coverage)
    ratios = [(mask_HW.shape[1] * height) / (mask_HW.shape[0] * width) for width, height in shapes]
    if not problem and ratios and min(abs(ratio - 1.0) for ratio in ratios) > PROPORTION:
        problem = "proportions"
    return problem, round(coverage, 5)


def _shapes(path: str) -> list[tuple[int, int]]:
    """Return width and height of an image as shown, and as stored where its mask may be drawn on that."""
    width, height = size_of(path)
    return [(width, height), (height, width)] if stored_sideways(path) else [(width, height)]


def coverage_problem(coverage: float) -> str:
    """Return "empty", "tiny", "whole_frame", or "" for a share of the frame that can be a lesion."""
    if coverage == 0.0:
        return "empty"
    if coverage < TINY:
        return "tiny"
    return "whole_frame" if coverage >= WHOLE_FRAME else ""


def _cached_findings(table: LesionTable, masks_NHW: ImageArray) -> list[MaskFinding]:
    shares: FloatArray = np.array([np.mean(mask_HW > 0) for mask_HW in masks_NHW], dtype=np.float64)
    problems: Sequence[str] = [coverage_problem(float(share)) for share in shares]
    return [
        MaskFinding(image_id=str(name), problem=problem, coverage=round(float(share), 5))
        for name, problem, share in zip(table.image_id, problems, shares, strict=True)
        if problem
    ]
