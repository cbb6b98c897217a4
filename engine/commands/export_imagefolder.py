"""Writes an exported run as class folders per part, for torchvision's ImageFolder and Hugging Face's ``imagefolder``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from engine.commands.exported_run import ExportedRun
from engine.commands.image_table import write_images
from engine.data.readers.exported import TABLE
from engine.errors import DataError

SPLITS: Final = {"train": "train", "mine": "mine", "val": "validation", "test": "test"}
"""What Hugging Face calls each part."""
READING: Final = f"""Class folders per part: `torchvision.datasets.ImageFolder("THIS_FOLDER/train")`, or
`datasets.load_dataset("THIS_FOLDER")` with the splits train, mine, validation and test, the class in column `dx` and
every column of `PART/{TABLE}`."""


def write(exported: ExportedRun, target: Path) -> None:
    """Fill ``target`` with PART/CLASS/IMAGE.png and PART/metadata.parquet.

    Every part has a folder for each class, so that class numbers agree between parts.

    Raises:
        DataError: a class cannot name a folder.
    """
    for dx in exported.classes:
        if dx.startswith(".") or "/" in dx or "\0" in dx:
            raise DataError(
                f"--format imagefolder: class {dx!r} cannot name a folder; rename it with data.map_labels, or give another "
                "format"
            )
    for part in exported.parts():
        for dx in exported.classes:
            (target / part / dx).mkdir(parents=True)
        rows = exported.rows_of(part)
        files = [f"{exported.records[row]['dx']}/{exported.records[row]['image_id']}.png" for row in rows]
        write_images(exported, rows, files, target / part)


def front_matter(exported: ExportedRun) -> str:
    """Return the head of README.md by which Hugging Face finds the splits."""
    lines = [f"  - split: {SPLITS.get(part, part)}\n    path: {part}/**" for part in exported.parts()]
    return "\n".join(
        [
            "---",
            "license: other",
            "configs:",
            "- config_name: default",
            "  data_files:",
            *lines,
            "---",
            "",
            "",
        ]
    )
