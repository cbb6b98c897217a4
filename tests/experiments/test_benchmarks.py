"""Benchmarks: ways take turns, ratios are of one turn, and the page says what misses its target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.artifacts.run_progress import RunProgress
from experiments.benchmarks import commands, neighbours, retrieval, rounds
from experiments.benchmarks.plot import draw
from experiments.benchmarks.report import page, reached
from experiments.benchmarks.timing import OURS, StepClock, compared, in_turns


def test_ways_take_turns_and_the_first_turn_is_not_counted() -> None:
    order = []

    def way(name: str) -> float:
        order.append(name)
        return float(len(order))

    taken = in_turns({OURS: lambda: way("a"), "plain": lambda: way("b")}, turns=2)
    assert order == ["a", "b"] * 3
    assert taken == {OURS: [3.0, 5.0], "plain": [4.0, 6.0]}


def test_ratios_are_turn_by_turn_and_the_first_alternative_decides() -> None:
    taken = {OURS: [1.0, 2.0, 4.0], "plain": [2.0, 6.0, 4.0], "other": [9.0, 18.0, 36.0]}
    row = compared(taken, target=2.0, unit="images")
    assert row["ratio"]["plain"] == {"median": 2.0, "least": 1.0, "most": 3.0}
    assert row["ratio"]["other"]["median"] == 9.0
    assert row["per_second"] == {OURS: 0.5, "plain": 0.25, "other": pytest.approx(1 / 18)}
    assert row["met"] is True and compared(taken, target=2.1)["met"] is False
    assert compared(taken)["met"] is None


def test_a_step_is_the_median_of_those_after_the_warm_ones() -> None:
    assert StepClock(at=[0.0, 9.0, 10.0, 12.0, 15.0]).step(warm=2) == 2.0


def test_the_page_has_a_line_per_row() -> None:
    row = compared({OURS: [0.5], "plain": [0.2]}, 1.0, unit="images", alternative="as documented")
    text = page({"decoding": row}, "A machine.", "Why.")
    assert "| decoding | 2 images/s | plain 5 | 0.40 (0.40 to 0.40) | 1 | no |" in text
    assert "- decoding: as documented." in text and text.endswith("Why.")


def test_a_bound_from_above_is_met_from_below() -> None:
    row = rounds.at_most([2.0, 4.0, 2.5], 3.0, "s", "none")
    assert row["met"] is True and rounds.at_most([3.5], 3.0, "s", "none")["met"] is False
    text = page({"again": row}, "A machine.", "Why.")
    assert "| again | 2.50 (2.00 to 4.00) s | | | at most 3 s | yes |" in text
    assert reached(row) == 1.2


def test_the_picture_has_a_dot_per_target(tmp_path: Path) -> None:
    row = compared({OURS: [0.5], "plain": [0.2]}, 1.0, unit="images", alternative="as documented")
    untold = compared({OURS: [0.5], "plain": [0.2]}, unit="images", alternative="as documented")
    assert draw({"decoding": row, "no target": untold}, tmp_path).stat().st_size > 5_000
    assert reached(row) == 0.4 and reached(untold) is None


def test_a_command_is_timed_as_a_process_of_its_own() -> None:
    assert commands.child(("-c", "sum(range(10**6))")) > commands.child(("-c", "")) > 0


def test_how_far_the_denoiser_is_comes_from_the_run_folder(tmp_path: Path) -> None:
    assert rounds.share_of_denoiser(tmp_path) == 0.0
    note = RunProgress(stage="denoiser", what="denoiser", done=3, total=4, began=0.0, at=0.0)
    note.write(tmp_path)
    assert rounds.share_of_denoiser(tmp_path) == 0.75
    note.model_copy(update={"stage": "vae"}).write(tmp_path)
    assert rounds.share_of_denoiser(tmp_path) == 0.0


def test_the_retrieval_row_finds_what_a_whole_sort_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "TARGETS", {2_100: 3.0})
    monkeypatch.setattr(retrieval, "PLAIN", {2_100: 7})
    monkeypatch.setattr(retrieval, "QUERIES", 140)
    (row,) = retrieval.measure(turns=1, full=False).values()
    assert row["recall"] == 1.0 and set(row["ratio"]) == {"numpy, query by query", "numpy, class by class"}


def test_a_size_of_neighbours_tells_seconds_and_memory() -> None:
    row = neighbours.of_size(300, turns=2)
    assert row["images"] == 300 and 0 < row["peak_mib"] < 10
    assert np.isclose(row["seconds"], (row["least"] + row["most"]) / 2)
