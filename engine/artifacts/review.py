"""Reads and writes ``review.csv``: a person's verdicts on synthetic images, written blank and read back filled in."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from engine.artifacts.csv_text import csv_text, unescaped
from engine.artifacts.whole_files import whole_file
from engine.errors import DataError

FILE: Final = "review.csv"
COLUMNS: Final = ("image", "verdict", "reviewer")
VERDICTS: Final = ("accept", "reject", "")


def write_blank(path: Path, images: Sequence[str]) -> None:
    """Write a CSV with an empty verdict for each image, unless there is one already."""
    if path.exists():
        return
    with whole_file(path) as partial:
        partial.write_text(
            csv_text(COLUMNS, ((name, "", "") for name in images)), encoding="utf-8", newline=""
        )


def read_verdicts(path: Path, images: Sequence[str] | None = None) -> Mapping[str, str]:
    """Return {image: accept | reject} of the images with a verdict; empty without the file.

    Raises:
        DataError: a column is missing, a verdict is neither accept nor reject nor empty, an image is named twice or is none
            of ``images``; names the file, the line and the remedy.
    """
    if not path.exists():
        return {}
    known = None if images is None else set(images)
    found: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in COLUMNS[:2] if name not in (reader.fieldnames or [])]
        if missing:
            raise DataError(f"{path}: column {missing[0]} is missing; the columns are {', '.join(COLUMNS)}")
        for row in reader:
            image, verdict = unescaped((row["image"] or "").strip()), (row["verdict"] or "").strip().lower()
            where = f"{path}, line {reader.line_num}"
            if verdict not in VERDICTS:
                raise DataError(
                    f"{where}: verdict {row['verdict']!r} is none; write accept, reject, or leave it empty"
                )
            if image in found:
                raise DataError(f"{where}: {image} has a second verdict; keep one")
            if known is not None and image not in known:
                raise DataError(f"{where}: {image!r} is none of this round's images; delete the line")
            found[image] = verdict
    return {image: verdict for image, verdict in found.items() if verdict}
