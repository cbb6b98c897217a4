"""Which figures are marked SIMULATED LABELS: of arms that bought labels of the oracle, of all where train holds some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.artifacts import asked, labels
from engine.artifacts.labels import ORACLE, Answer
from engine.artifacts.report_json import BoughtLabels, RoundEntry, RunReport
from engine.artifacts.run_layout import RunLayout
from engine.labelling.simulated import in_entry, in_run, in_train


def entry(arm: str, *, simulated: bool | None = None) -> RoundEntry:
    bought = None
    if simulated is not None:
        bought = BoughtLabels(asked=2, answered=2, conflicts=0, unsure=0, simulated=simulated)
    return RoundEntry(round=1, arm=arm, labels=bought)


def answer(image: str, reader: str, **more: Any) -> Answer:
    return Answer(image_id=image, reader=reader, **({"dx": "nv"} | more))


def test_an_arm_is_marked_by_its_own_labels_and_a_run_by_any_arm(tmp_path: Path) -> None:
    real, queried, by_readers = (
        entry("real"),
        entry("queried", simulated=True),
        entry("queried", simulated=False),
    )
    assert [in_entry(tmp_path, one) for one in (real, queried, by_readers)] == [False, True, False]
    assert in_run(tmp_path, RunReport(rounds=(real, queried)))
    assert not in_run(tmp_path, RunReport(rounds=(real, by_readers)))


@pytest.mark.parametrize(
    ("answers", "marked"),
    [
        ([answer("a", ORACLE)], True),
        ([answer("a", "ann")], False),
        ([answer("a", ORACLE), answer("a", "ann")], False),
        ([answer("a", ORACLE), answer("a", ORACLE, kind="withdrawn", dx="")], False),
        ([answer("a", ORACLE), answer("a", "ann", dx="mel")], False),
    ],
    ids=["oracle", "reader", "both agree", "withdrawn", "conflict: no label"],
)
def test_labels_that_no_round_asked_for_mark_every_arm(
    tmp_path: Path, answers: list[Answer], marked: bool
) -> None:
    labels.append(tmp_path, answers)
    assert in_train(tmp_path) is marked
    assert in_entry(tmp_path, entry("real")) is marked
    assert in_run(tmp_path, RunReport(rounds=(entry("real"),))) is marked


def test_labels_that_a_round_asked_for_mark_the_arms_that_have_them_alone(tmp_path: Path) -> None:
    labels.append(tmp_path, [answer("a", ORACLE)])
    folder = RunLayout(tmp_path).arm_folder(1, "queried")
    folder.mkdir(parents=True)
    row = {"image_id": ["a"], "value": [0.5], "predicted": ["nv"], "prob": [[1.0]], "neighbours": [["b"]]}
    asked.SCHEMA.write(pd.DataFrame(row), folder)
    assert not in_train(tmp_path)
    assert not in_entry(tmp_path, entry("real")) and in_entry(tmp_path, entry("queried", simulated=True))
