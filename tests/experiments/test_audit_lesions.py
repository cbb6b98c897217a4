"""Recall, joined recall and false alarms of a search worked out by hand, and a kept search read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.duplicates.same_lesion import LesionPairs
from engine.types import LesionTable, strings
from experiments.audit import Judged
from experiments.audit_lesions import (
    Scored,
    Search,
    alarms,
    both,
    figures_of,
    recall,
    result,
    sheet,
    threshold_for,
    true_pairs,
)

NAMES = strings([f"I{row}" for row in range(6)])
LESIONS = strings(["A", "A", "A", "B", "C", "D"])


def table() -> LesionTable:
    none = strings([""] * 6)
    return LesionTable(
        image_id=NAMES, lesion_id=LESIONS, patient_id=none, dx=strings(["nv"] * 6), split=none,
        origin=strings(["real"] * 6), age=np.full(6, np.nan), sex=none, localization=none, skin_type=none,
        path=none, mask_path=none,
    )  # fmt: skip


def judged(tmp_path: Path) -> Judged:
    (tmp_path / "by_eye.csv").write_text(
        "image_id_1,image_id_2,verdict\nI3,I4,one lesion\nI4,I5,two lesions\n"
    )
    return Judged.read(tmp_path / "by_eye.csv", table())


SCORED = Scored(np.array([[0, 1], [1, 2], [3, 4], [4, 5], [0, 5]]), np.array([20.0, 9.0, 12.0, 11.0, 5.0]))


def test_false_by_id_and_by_eye(tmp_path: Path) -> None:
    assert alarms(SCORED, table(), judged(tmp_path)).tolist() == [
        [False, False], [False, False], [True, False], [True, True], [True, True],
    ]  # fmt: skip


def test_recall_and_what_is_joined(tmp_path: Path) -> None:
    wanted = true_pairs(table(), np.arange(6))
    assert wanted.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert recall(SCORED, 8.0, wanted, 6) == {"recall": 0.6667, "recall_joined": 1.0}
    assert recall(SCORED, 9.0, wanted, 6) == {"recall": 0.3333, "recall_joined": 0.3333}
    found = result(SCORED, 8.0, table(), np.arange(6), judged(tmp_path))
    assert (found["false_by_id"], found["false_by_eye"], found["recall"]) == (2, 1, 0.6667)
    assert found["nobody_looked_at"] == [], "the false alarm over the threshold was looked at"
    assert result(SCORED, 4.0, table(), np.arange(6), judged(tmp_path))["nobody_looked_at"] == [("I0", "I5")]


def test_threshold_spends_the_allowance() -> None:
    false = np.array([False, False, False, True, True])
    assert threshold_for(SCORED, false, 999) == 11.0, "no alarm: over the highest"
    assert threshold_for(SCORED, false, 1000) == 5.0, "one alarm: over the second"
    assert threshold_for(SCORED, false, 2000) == 0.0


def test_pixels_come_first_in_both() -> None:
    second = LesionPairs(
        pairs_P2=np.array([[0, 1], [1, 2]]),
        inliers_P=np.array([9, 7]),
        spread_P=np.ones(2),
        placement_P4=np.zeros((2, 4)),
    )
    found = both(Scored(np.array([[0, 1], [3, 4]]), np.array([0.9, 0.2])), 0.45, second)
    assert found.pairs.tolist() == [[0, 1], [1, 2]]
    assert found.score.tolist() == [np.inf, 7.0]


def test_a_kept_search_gives_the_same_figures(tmp_path: Path) -> None:
    search = Search(Scored(np.array([[0, 1]]), np.array([0.6])), 0.45, SCORED, {"clock": 2.5})
    search.write(tmp_path / "scores.npz")
    again = figures_of(Search.read(tmp_path / "scores.npz"), table(), judged(tmp_path), 0)
    assert repr(again) == repr(figures_of(search, table(), judged(tmp_path), 0))
    assert again["before"]["whole_set_at_the_finders_threshold"]["recall"] == pytest.approx(1 / 3, abs=1e-4)
    assert again["most_suspicious_across_ids"][0] == ("I3", "I4", 12)
    assert again["seconds"] == {"clock": 2.5}


def test_the_sheet_shows_both_images(tmp_path: Path) -> None:
    for name, level in (("I0", 40), ("I1", 200)):
        Image.new("RGB", (200, 150), (level, 0, 0)).save(tmp_path / f"{name}.png")
    paths = strings([str(tmp_path / f"I{row}.png") for row in range(6)])
    drawn = np.asarray(sheet([("I0", "I1", 9)], table().replace(path=paths)))
    assert drawn[50, 60].tolist() == [40, 0, 0] and drawn[50, 180].tolist() == [200, 0, 0]
