"""Label Studio's JSON export: a row per annotation, whoever gave it; another export is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError
from engine.labelling.answer_table import Row
from engine.labelling.label_studio import read_label_studio


def choice(*choices: str) -> dict[str, Any]:
    """A region as the format's documentation has it."""
    return {
        "id": "zLSY-XLk64", "type": "choices", "origin": "manual", "to_name": "image", "from_name": "dx",
        "value": {"choices": list(choices)},
    }  # fmt: skip


def task(address: str, *annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "project": 1,
        "data": {"image": address, **data},
        "annotations": list(annotations),
        "predictions": [],
    }


def annotation(*result: dict[str, Any], by: Any = 1, cancelled: bool = False) -> dict[str, Any]:
    return {
        "id": 12,
        "result": list(result),
        "was_cancelled": cancelled,
        "completed_by": by,
        "ground_truth": False,
    }


def read(folder: Path, tasks: Any, reader: str = "") -> list[Row]:
    path = folder / "export.json"
    path.write_text(tasks if isinstance(tasks, str) else json.dumps(tasks))
    return read_label_studio(path, reader)


def test_a_row_per_annotation(tmp_path: Path) -> None:
    ann = {"id": 1, "email": "ann@clinic.org", "first_name": "Ann", "last_name": "Li"}
    region = {"type": "rectanglelabels", "value": {"rectanglelabels": ["lesion"]}}
    tasks = [
        task(
            "/data/upload/3/8d0c2a1f-U1.jpg",
            annotation(region, choice("mel"), by=ann),
            annotation(choice("nv"), by=4),
        ),
        task(
            "/data/local-files/?d=photos/U%202.png",
            annotation(by=4),
            annotation(choice("mel"), by=4, cancelled=True),
        ),
        task("https://host.org/images/U3.jpg?token=1", annotation(choice("nv"), by={"id": 9}), image_id="U3"),
    ]
    assert read(tmp_path, tasks) == [
        Row(where="task 1", image="/data/upload/3/8d0c2a1f-U1.jpg", dx="mel", reader="ann@clinic.org"),
        Row(where="task 1", image="/data/upload/3/8d0c2a1f-U1.jpg", dx="nv", reader="annotator 4"),
        Row(where="task 2", image="photos/U 2.png", dx="", reader="annotator 4"),
        Row(where="task 2", image="photos/U 2.png", dx="", reader="annotator 4"),
        Row(where="task 3", image="U3", dx="nv", reader="annotator 9"),
    ]


def test_a_name_for_the_one_number(tmp_path: Path) -> None:
    by_email = annotation(choice("nv"), by={"email": "bob@clinic.org"})
    tasks = [task("U1.jpg", annotation(choice("mel"), by=4), by_email)]
    assert [row.reader for row in read(tmp_path, tasks, "ann")] == ["ann", "bob@clinic.org"]
    tasks.append(task("U2.jpg", annotation(choice("mel"), by=5)))
    with pytest.raises(
        DataError, match=r"answers of 2 people \(annotator 4, annotator 5\), and --reader names one"
    ):
        read(tmp_path, tasks, "ann")
    assert [row.reader for row in read(tmp_path, [task("U1.jpg", annotation(choice("mel"), by=None))])] == [
        ""
    ]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("{", r"export\.json: is no valid JSON .*export the project from Label Studio again, as JSON"),
        (
            "[" * 100_000,
            r"export\.json: is no valid JSON \(its brackets are nested too deeply\); export the project",
        ),
        ({"tasks": []}, r"export\.json: holds no list of tasks"),
        ([{"image": "U1.jpg", "dx": "mel"}], r"export\.json, task 1: has no data and annotations.*JSON_MIN"),
        ([task("U1.jpg"), task("")], r"task 2: data names no image; give each task a key image_id or image"),
        ([task("U1.jpg", annotation(choice("mel", "nv")))], r"task 1: has 2 choices \(mel, nv\); keep one"),
        ([task("U1.jpg", annotation({"type": "choices"}))], r"task 1: holds choices without a value"),
        ([{"data": {"image": "U1"}, "annotations": [3]}], r"task 1: has an annotation that is none"),
    ],
)
def test_what_is_no_export(tasks: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, tasks)
