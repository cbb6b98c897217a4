"""Reads answers from Label Studio's JSON export: one choice per annotation of an image.

Format: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export (JSON, not JSON_MIN, which drops who
answered).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from engine.artifacts.json_record import json_value
from engine.errors import DataError
from engine.labelling.answer_table import Row

AGAIN: Final = "export the project from Label Studio again, as JSON"
ANNOTATOR: Final = "annotator"
"""How a reader is called of whom the export has a number alone, with that number behind it."""


def read_label_studio(path: Path, reader: str = "") -> list[Row]:
    """Return a row per annotation; one that was skipped, or has no choice, has dx "".

    A reader is the e-mail address of ``completed_by``, else ``annotator NUMBER``. ``reader`` names the one person whom the
    export knows by a number.

    Raises:
        DataError: the file cannot be read, is another export, an annotation has several choices, or ``reader`` is given and
            the export has several numbers.
    """
    tasks = json_value(path, AGAIN)
    if not isinstance(tasks, list):
        raise DataError(f"{path}: holds no list of tasks; {AGAIN}")
    rows = [row for number, task in enumerate(tasks, start=1) for row in _of_task(path, number, task)]
    numbers = sorted({row.reader for row in rows if row.reader.startswith(f"{ANNOTATOR} ")})
    if reader and len(numbers) > 1:
        raise DataError(
            f"{path}: has answers of {len(numbers)} people ({', '.join(numbers[:5])}), and --reader names one; leave it out"
        )
    return [
        Row(where=row.where, image=row.image, dx=row.dx, reader=reader) if reader and row.reader in numbers else row
        for row in rows
    ]  # fmt: skip


def _of_task(path: Path, number: int, task: Any) -> Iterator[Row]:
    where = f"task {number}"
    data = task.get("data") if isinstance(task, dict) else None
    annotations = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise DataError(
            f"{path}, {where}: has no data and annotations; {AGAIN} (JSON_MIN and CSV lack who answered)"
        )
    image = _image(path, where, data)
    for annotation in annotations:
        if not isinstance(annotation, dict):
            raise DataError(f"{path}, {where}: has an annotation that is none; {AGAIN}")
        dx = "" if annotation.get("was_cancelled") else _choice(path, where, annotation.get("result"))
        yield Row(where=where, image=image, dx=dx, reader=_reader(annotation.get("completed_by")))


def _image(path: Path, where: str, data: dict[str, Any]) -> str:
    """Return the image_id of a task where it has one, else the file that its image's address names."""
    if isinstance(named := data.get("image_id"), str | int):
        return str(named).strip()
    address = data.get("image")
    if not isinstance(address, str) or not address.strip():
        raise DataError(f"{path}, {where}: data names no image; give each task a key image_id or image")
    parts = urlsplit(address.strip())
    local = parse_qs(parts.query).get("d")  # /data/local-files/?d=FOLDER/FILE
    return unquote(local[0] if local else parts.path) or address


def _choice(path: Path, where: str, result: Any) -> str:
    """Return the one choice of an annotation, "" without one."""
    found = []
    for region in result if isinstance(result, list) else []:
        if isinstance(region, dict) and region.get("type") == "choices":
            value = region.get("value")
            choices = value.get("choices") if isinstance(value, dict) else None
            if not isinstance(choices, list):
                raise DataError(f"{path}, {where}: holds choices without a value; {AGAIN}")
            found += [str(choice).strip() for choice in choices]
    if len(found) > 1:
        raise DataError(
            f"{path}, {where}: has {len(found)} choices ({', '.join(found[:5])}); keep one in Label Studio"
        )
    return found[0] if found else ""


def _reader(completed_by: Any) -> str:
    if isinstance(completed_by, dict):
        email = str(completed_by.get("email") or "").strip()
        if email:
            return email
        completed_by = completed_by.get("id")
    return "" if completed_by is None else f"{ANNOTATOR} {completed_by}"
