"""Rows of the report's tables against the files they come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.arms import in_words
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.report_json import RunReport
from engine.artifacts.run_files import RoundFiles, RunFiles, read_run
from engine.artifacts.split import SplitTable
from engine.report import tables as report_tables
from engine.report.blocks import record as report_record
from engine.report.wording import percent_interval
from engine.types import strings
from tests.engine.report.fake_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    return read_run(
        make_run(tmp_path_factory.mktemp("tables") / "demo", arms=("real", "random", "hard"), lesions=220)
    )


def rounds_of(run: RunFiles) -> list[dict[str, Any]]:
    return [entry.to_json() for entry in run.report.rounds]


def round_files(**tables: object) -> RoundFiles:
    return RoundFiles(number=1, folder=Path(), **tables)  # type: ignore[arg-type]


def files_of(table: SplitTable) -> RunFiles:
    return RunFiles(
        path=Path(), report=RunReport(rounds=()), config={}, config_text="", split=table, rounds=()
    )


def test_rounds_table_has_a_row_a_round_and_arm(run: RunFiles) -> None:
    rows = report_tables.rounds_table(rounds_of(run), report_tables.COLUMNS)
    headings = [column.heading for column in report_tables.COLUMNS]

    def cell(row: int, heading: str) -> str:
        text: str = rows[row]["cells"][headings.index(heading)]
        return text

    assert [(r["round"], r["arm"]) for r in rows] == [
        (0, "real"), (1, "real"), (1, "random"), (1, "hard"), (2, "real"), (2, "random"), (2, "hard")
    ]  # fmt: skip
    value = rounds_of(run)[3]["test"]["balanced_accuracy"]["value"]
    assert cell(3, "Balanced accuracy").startswith(f"{100 * value:.1f}\u00a0% (")
    assert cell(0, "p against round 0") == "–" and cell(1, "p against round 0") == "0.310"
    assert cell(1, "Steps") == "2\u202f100"


def test_images_added_are_those_of_the_pool_not_those_accepted(run: RunFiles) -> None:
    """An arm may have 10 of 10 accepted and train on 8, since its pool takes no more than hard has."""
    (entry,) = [e for e in rounds_of(run) if (e["round"], e["arm"]) == (1, "random")]
    texts = {c.heading: c.text for c in (*report_tables.COLUMNS, *report_tables.FURTHER)}
    made = {**entry, "n_accepted": 10, "n_generated": 10, "pool": {"added": {"mel": 5, "nv": 3}}}
    assert (texts["Images added"](made), texts["Accepted / generated"](made)) == ("8", "10 / 10")
    assert texts["Images added"]({**made, "pool": None}) == "–"
    assert texts["Images added"]({**made, "labels": {"answered": 10}}) == "18", (
        "newly labelled ones are added too"
    )
    assert texts["Accepted / generated"]({**made, "n_generated": 0}) == "none"


def test_class_tables(run: RunFiles) -> None:
    rounds = rounds_of(run)
    assert len(report_tables.class_table(rounds)) == 7 * len(rounds)
    assert [name for name, _ in report_tables.class_charts(rounds)] == [
        "akiec",
        "bcc",
        "bkl",
        "df",
        "mel",
        "nv",
        "vasc",
    ]
    frame = run.split.frame()
    test = frame[frame["split"] == "test"]
    mel = test[test["dx"] == "mel"]
    assert (
        report_tables.class_counts(rounds)["mel"]
        == f"{len(mel)} images, {mel['lesion_id'].nunique()} lesions"
    )
    assert report_tables.class_charts([]) == [] and report_tables.class_counts([]) == {}


def test_arms_side_by_side_shows_the_last_report_of_each(run: RunFiles) -> None:
    figures = report_tables.arms_side_by_side(rounds_of(run))
    assert len(figures) == 3
    assert [(row["arm"], row["round"]) for row in figures[0][1]] == [("real", 2), ("random", 2), ("hard", 2)]


def test_confusion_table_shares_are_of_the_row() -> None:
    entry = {
        "round": 1,
        "arm": "hard",
        "test": {"confusion": {"classes": ["a", "b"], "counts": [[3, 1], [0, 0]]}},
    }
    table = report_tables.confusion_table(entry)
    assert table is not None and table.title == "Round 1, trained with synthetic hard cases (hard)"
    assert table.rows == [("a", 4, [(3, 0.75), (1, 0.25)]), ("b", 0, [(0, 0.0), (0, 0.0)])]
    assert report_tables.confusion_table({"round": 1, "arm": "hard", "test": {}}) is None


@pytest.mark.parametrize(
    ("reason", "group"),
    [
        ("judge: mel 0.12 < 0.50", "judge disagreed"),
        ("judge: nv, not mel; memorized: 0.012 < 0.034", "judge disagreed and too close to a train image"),
        (["memorized: 0.012 < 0.034"], "too close to a train image"),
        ("over max_synthetic_ratio", "class already full"),
        ("over max_synthetic", "enough images in all"),
        ("support: 0.512 > 0.410", "too far from every train image"),
        ("review: no verdict yet", "not approved by a person"),
        ("mine: too blue", "mine"),
        ("", "no reason recorded"),
    ],
)
def test_reasons_are_grouped(reason: object, group: str) -> None:
    assert report_record.reason_group(reason) == group


def test_acceptance_table_counts() -> None:
    frame = pd.DataFrame(
        {
            "dx": ["mel", "mel", "mel", "nv"],
            "accepted": [True, False, False, True],
            "reasons": ["", "judge: x", "judge: y; memorized: z", ""],
        }
    )
    table = report_record.acceptance_table(round_files(synthetic=frame))
    assert table is not None
    names = [name for name, _ in table["reasons"]]
    assert names == ["judge disagreed", "judge disagreed and too close to a train image"]
    mel, nv = table["rows"]
    assert (mel["generated"], mel["accepted"], mel["share"], mel["rejected"]) == (3, 1, "33\u00a0%", [1, 1])
    assert (nv["generated"], nv["accepted"], nv["rejected"]) == (1, 1, [0, 0])
    assert report_record.acceptance_table(round_files()) is None


def test_judge_table_shows_undefined_figures_as_dashes() -> None:
    accept = {"agreement": 0.5, "expected_agreement": None, "agreement_ratio": None,
              "per_class": {"mel": {"generated": 4, "accepted": 1, "agreement": 0.25, "val_recall": None}}}  # fmt: skip
    table = report_record.judge_table(round_files(accept=AcceptFacts.of(accept, Path("accept.json"))))
    assert table is not None
    assert (table["agreement"], table["expected"], table["ratio"]) == ("50.0\u00a0%", "–", "–")
    assert table["rows"] == [{"dx": "mel", "generated": 4, "agreement": "25.0\u00a0%", "recall": "–"}]
    assert report_record.judge_table(round_files()) is None


def test_the_judge_stands_beside_the_classifiers_of_its_round(run: RunFiles) -> None:
    judge = {"balanced_accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}, "log_loss": None}
    facts = {"per_class": {}, "judge_temperature": 1.25, "judge_val": judge}
    entry = round_files(accept=AcceptFacts.of(facts, Path("accept.json")))
    last = run.report.last_round()
    table = report_record.judge_beside(replace(entry, number=last), run.report.rounds)
    assert table is not None
    assert table["temperature"] == "1.25"
    names = [row["name"] for row in table["rows"]]
    arms = [f"trained {in_words(found.arm)}" for found in run.report.rounds if found.round == last]
    assert names == ["the judge", *arms]
    assert table["rows"][0]["cells"] == ["50.0\u00a0% (40.0–60.0)", "–", "–", "–"]
    own = next(found for found in run.report.rounds if found.round == last)
    assert table["rows"][1]["cells"][0] == percent_interval(own.figure("val", "balanced_accuracy"))
    assert report_record.judge_beside(round_files(), run.report.rounds) is None
    older = AcceptFacts.of({"per_class": {}}, Path("accept.json"))
    assert report_record.judge_beside(round_files(accept=older), run.report.rounds) is None


def test_split_table_counts_images_and_lesions(run: RunFiles) -> None:
    table = report_record.split_table(run)
    assert (
        table is not None and table["parts"] == ["train", "mine", "val", "test"] and table["straddling"] == 0
    )
    name, _, total = table["rows"][-1]
    frame = run.split.frame()
    assert name == "all" and total == f"{len(frame)} ({frame['lesion_id'].nunique()})"
    train = frame[(frame["split"] == "train") & (frame["dx"] == "akiec")]
    assert table["rows"][0][1][0] == f"{len(train)} ({train['lesion_id'].nunique()})"


def test_split_table_counts_straddling_lesions() -> None:
    lesions = strings(["L", "L"])
    found = SplitTable(
        image_id=strings(["a", "b"]), lesion_id=lesions, dx=strings(["nv", "nv"]), split=strings(["train", "test"]),
        group_N=lesions,
    )  # fmt: skip
    table = report_record.split_table(files_of(found))
    assert table is not None and table["straddling"] == 1


def test_seconds_add_up(run: RunFiles) -> None:
    table = report_record.seconds_table(run.report)
    assert table["stages"] == ["training", "prediction", "evaluation", "mining", "synthesis", "acceptance"]
    assert table["rows"][0]["cells"] == ["1 min 1 s", "4.1 s", "0.7 s", "", "", ""]
    assert table["rows"][0]["total"] == "1 min 6 s"
    seconds = [sum(e["seconds"].values()) for e in rounds_of(run)]
    total = np.sum(seconds) + 3.2 + 41.0 + 160.4 + 420.0 + 65.0
    assert table["total"] == f"{int(total // 60)} min {round(total) % 60} s"


def test_split_table_counts_lesions_that_belong_together() -> None:
    found = SplitTable(
        image_id=strings(list("abcd")), lesion_id=strings(["K", "L", "L", "M"]), group_N=strings(["K", "K", "K", "M"]),
        dx=strings(["nv"] * 4), split=strings(["test"] * 4),
    )  # fmt: skip
    table = report_record.split_table(files_of(found))
    assert table is not None and table["together"] == {"lesions": 2, "groups": 1}
    older = files_of(replace(found, group_N=found.lesion_id))
    assert report_record.split_table(older)["together"] == {"lesions": 0, "groups": 0}  # type: ignore[index]
