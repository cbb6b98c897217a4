"""Kinds and order of pairs, label conflicts, and masks that cannot be a lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from engine.data.audit.findings import (
    lesion_conflicts,
    mask_findings,
    mask_problem,
    pair_kind,
    suspicious_pairs,
)
from engine.data.table import make_table
from engine.types import LesionTable
from tests.fakes import no_progress

HERE = {"exact": False, "turn": "as it is", "log_zoom": 0.0, "angle": 0.0, "shift_x": 0.0, "shift_y": 0.0}


def pair(**changes: object) -> pd.Series:
    return pd.Series({**HERE, "distance": 0.05, **changes})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "near_duplicate"),
        ({"exact": True, "distance": 0.0}, "exact"),
        ({"turn": "turned 90"}, "transformed"),
        ({"log_zoom": -0.05}, "transformed"),
        ({"shift_y": 0.05}, "transformed"),
        ({"angle": 0.1, "distance": 0.4}, "transformed"),
    ],
)
def test_kinds(changes: dict, kind: str) -> None:
    assert pair_kind(pair(**changes)) == kind


def table() -> LesionTable:
    return make_table(
        "here",
        ["i1", "i2", "i3", "i4", "i5"],
        ["mel", "nv", "nv", "nv", "mel"],
        lesion_id=["A", "B", "C", "D", "D"],
        split=["train", "test", "train", "", "train"],
    )


def test_pairs_are_most_suspicious_first_and_say_what_they_join() -> None:
    frame = pd.DataFrame(
        [
            {**HERE, "image_id_1": "i2", "image_id_2": "i3", "distance": 0.3},
            {**HERE, "image_id_1": "i1", "image_id_2": "i2", "distance": 0.0, "exact": True},
            {**HERE, "image_id_1": "i1", "image_id_2": "i4", "distance": 0.1, "shift_x": 0.1},
        ]
    )
    found = suspicious_pairs(frame, table())
    assert [(p["image_id_1"], p["image_id_2"], p["score"]) for p in found] == [
        ("i1", "i2", 1.0),
        ("i1", "i4", 0.9),
        ("i2", "i3", 0.7),
    ]
    assert found[0]["label_conflict"] and found[0]["across_splits"]
    assert (found[0]["dx_1"], found[0]["dx_2"], found[0]["lesion_id_2"]) == ("mel", "nv", "B")
    assert not found[1]["across_splits"], "i4 lies in no part"
    assert found[1]["transformation"] == {
        "turn": "as it is",
        "zoom": 1.0,
        "angle_degrees": 0.0,
        "shift": [0.05, 0.0],
    }
    assert not found[2]["label_conflict"]


def test_a_lesion_with_two_diagnoses() -> None:
    assert lesion_conflicts(table()) == [{"lesion_id": "D", "images": {"mel": ["i5"], "nv": ["i4"]}}]


def draw(path: Path, inside: float, size: tuple[int, int] = (40, 30)) -> str:
    """A mask with this share of its rows inside."""
    mask = np.zeros(size[::-1], np.uint8)
    mask.ravel()[: round(inside * mask.size)] = 255
    Image.fromarray(mask).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("share", "problem"),
    [(0.0, "empty"), (0.005, "tiny"), (0.02, ""), (0.9, ""), (0.995, "whole_frame"), (1.0, "whole_frame")],
)
def test_coverage(tmp_path: Path, share: float, problem: str) -> None:
    found = mask_problem(draw(tmp_path / "m.png", share), "")
    assert found == (problem, pytest.approx(share, abs=1e-3))


def test_absent_broken_and_misshapen_masks(tmp_path: Path) -> None:
    assert mask_problem("", "") == ("missing", None)
    (tmp_path / "b.png").write_text("no image")
    assert mask_problem(str(tmp_path / "b.png"), "") == ("unreadable", None)
    Image.new("RGB", (80, 60)).save(tmp_path / "i.png")
    assert mask_problem(draw(tmp_path / "m.png", 0.3), str(tmp_path / "i.png"))[0] == ""
    assert mask_problem(draw(tmp_path / "n.png", 0.3, (30, 40)), str(tmp_path / "i.png"))[0] == "proportions"


def test_findings_name_the_images(tmp_path: Path) -> None:
    masks = [draw(tmp_path / f"{k}.png", share) for k, share in enumerate((0.3, 1.0, 0.0))]
    rows = make_table("here", ["a", "b", "c", "d"], ["nv", "mel", "nv", "mel"], mask_path=[*masks, ""])
    found = mask_findings(rows, np.zeros((4, 8, 8), np.uint8), 3, no_progress)
    assert [(f.image_id, f.problem) for f in found] == [
        ("b", "whole_frame"),
        ("c", "empty"),
        ("d", "missing"),
    ]


def test_masks_that_are_arrays_are_looked_at_as_cached() -> None:
    rows = make_table("here", ["a", "b"], ["nv", "mel"])
    masks = np.zeros((2, 10, 10), np.uint8)
    masks[0] = 255
    masks[1, :5] = 255
    assert [(f.image_id, f.problem) for f in mask_findings(rows, masks, 2, no_progress)] == [
        ("a", "whole_frame")
    ]
    assert mask_findings(rows, masks, 0, no_progress) == [], "made by Otsu: not the data set's"
