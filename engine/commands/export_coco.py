"""Writes an exported run as COCO JSON: one file per part, one class per image, boxes where the data set drew masks.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context" (arXiv 1405.0312); the format is that of cocodataset.org.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.artifacts.whole_files import write_text
from engine.commands.exported_run import ExportedRun
from engine.commands.image_table import write_images
from engine.types import ImageArray

IMAGES: Final = "images"
ANNOTATIONS: Final = "annotations"
READING: Final = f"""COCO JSON: `{ANNOTATIONS}/PART.json` over `{IMAGES}/`, for pycocotools or torchvision's CocoDetection.
An annotation is the class of a whole image. It has `bbox`, `area` and `segmentation` only where the data set drew the
lesion's mask. `images[].attributes` tells the rest: where an image comes from, and what was judged or predicted of it."""


def write(exported: ExportedRun, target: Path) -> None:
    """Fill ``target`` with images/ and annotations/<part>.json; ids of images and annotations are unique in all parts."""
    (target / IMAGES).mkdir()
    (target / ANNOTATIONS).mkdir()
    files = [f"{record['image_id']}.png" for record in exported.records]
    write_images(exported, range(len(files)), files, target / IMAGES)
    for part in exported.parts():
        rows = exported.rows_of(part)
        tree = {
            "info": _info(exported, part),
            "licenses": [{"id": 1, "name": exported.facts()["licence"], "url": ""}],
            "categories": _categories(exported),
            "images": [_image(exported, row, files[row]) for row in rows],
            "annotations": [_annotation(exported, row) for row in rows],
        }
        write_text(target / ANNOTATIONS / f"{part}.json", json.dumps(tree, allow_nan=False) + "\n")


def _info(exported: ExportedRun, part: str) -> dict[str, Any]:
    facts = exported.facts()
    return {
        "description": " ".join([f"Part {part} of run {facts['run']}.", *exported.warnings]),
        "version": facts["made_by"],
        "contributor": facts["made_by"],
        "url": "",
        "part": part,
        **facts,
    }


def _categories(exported: ExportedRun) -> list[dict[str, Any]]:
    return [
        {"id": number, "name": dx, "supercategory": "lesion"} for number, dx in enumerate(exported.classes, 1)
    ]


def _image(exported: ExportedRun, row: int, file: str) -> dict[str, Any]:
    side, attributes = exported.side, exported.records[row]
    found = {"id": row + 1, "file_name": file, "width": side, "height": side, "license": 1}
    return found | {"attributes": attributes}


def _annotation(exported: ExportedRun, row: int) -> dict[str, Any]:
    category = exported.classes.index(exported.records[row]["dx"]) + 1
    found = {"id": row + 1, "image_id": row + 1, "category_id": category, "iscrowd": 0}
    mask_HW = exported.lesion_mask(row)
    return found if mask_HW is None else found | outline(mask_HW)


def outline(mask_HW: ImageArray) -> dict[str, Any]:
    """Return bbox (x, y, width, height), area, and the mask as run lengths, column by column, in pixels.

    ``mask_HW`` is not empty.
    """
    inside_HW = mask_HW > 0
    rows, columns = np.flatnonzero(inside_HW.any(axis=1)), np.flatnonzero(inside_HW.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    runs = [(value, len(list(run))) for value, run in groupby(inside_HW.ravel(order="F").tolist())]
    counts = [length for _, length in runs]
    return {
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "area": int(inside_HW.sum()),
        "segmentation": {
            "size": list(mask_HW.shape),
            "counts": [0, *counts] if runs[0][0] else counts,
        },
    }
