"""Reads and writes ``review.csv``: a person's verdicts on synthetic images, written blank and read back filled in."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from engine.artifacts.csv_text import csv_text, unescaped
from engine.artifacts.whole_files import only_writer, synced_file, whole_file
from engine.errors import DataError

FILE: Final = "review.csv"
COLUMNS: Final = ("image", "verdict", "reviewer")
VERDICTS: Final = ("accept", "reject", "")
LOCK: Final = ".review.lock"


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


def write_verdict(path: Path, image: str, verdict: str, reviewer: str) -> bool:
    """Write one verdict, on the disk before this returns; "" takes back the reviewer's own. Rows, their order and further
    columns stay.

    Returns:
        Whether it was written: not over the verdict of somebody else, and "" only over the reviewer's own.

    Raises:
        DataError: the file is wrong (as ``read_verdicts``), names no such image, or another process holds it for too long.
    """
    with only_writer(path.with_name(LOCK), "verdicts"):
        read_verdicts(path)
        columns, rows = _rows(path)
        row = next((row for row in rows if row["image"].strip() == image), None)
        if row is None:
            raise DataError(f"{path}: has no line for {image}; put its last copy back")
        own = row["reviewer"].strip() == reviewer
        if (row["verdict"].strip() or not verdict) and not own:
            return False
        row |= {"verdict": verdict, "reviewer": reviewer if verdict else ""}
        text = csv_text(columns, ([row[name] for name in columns] for row in rows))
        with synced_file(path) as partial:
            partial.write_text(text, encoding="utf-8", newline="")
        return True


def read_reviewers(path: Path) -> dict[str, tuple[str, str]]:
    """Return {image: (verdict, reviewer)} of every line, in its order; "" where blank (DataError as ``read_verdicts``)."""
    verdicts = read_verdicts(path)
    _, rows = _rows(path)
    return {
        row["image"].strip(): (verdicts.get(row["image"].strip(), ""), row["reviewer"].strip())
        for row in rows
    }


def _rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of the file and its rows, formula quotes removed; a missing column reviewer is added."""
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle, restkey="", restval="")
        columns = list(dict.fromkeys([*(reader.fieldnames or []), *COLUMNS]))
        return columns, [{name: unescaped(str(row.get(name) or "")) for name in columns} for row in reader]
