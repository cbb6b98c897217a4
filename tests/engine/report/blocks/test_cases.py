"""Which hard cases are shown, and what is shown of each."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from engine.artifacts.run_files import read_run
from engine.report.blocks import cases as report_cases
from engine.report.blocks.cases import cases_of, pick
from engine.types import strings
from tests.engine.report.fake_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("cases") / "demo", lesions=220)


def test_pick_takes_classes_in_turn_hardest_first() -> None:
    dx = strings(["nv", "nv", "nv", "mel", "nv", "df"])
    assert pick(dx, [True] * 6, 3) == [0, 3, 5]
    assert pick(dx, [True] * 6, 4) == [0, 1, 3, 5]
    assert pick(dx, [True] * 6, 99) == [0, 1, 2, 3, 4, 5]


def test_pick_prefers_cases_with_a_picture() -> None:
    dx = strings(["nv", "nv", "mel", "nv"])
    assert pick(dx, [False, True, False, True], 2) == [1, 3]
    assert pick(dx, [False, True, False, True], 3) == [1, 2, 3]  # mel's hardest before nv's third


def test_cases_hold_pictures_neighbours_and_samples(run: Path) -> None:
    cases, total = cases_of(read_run(run))
    files = [pd.read_parquet(run / f"rounds/000{n}/hard_cases.parquet") for n in (1, 2)]
    assert total == sum(len(f) for f in files)
    case = cases[0]
    assert case.round == 1 and case.image_id in set(files[0]["image_id"])
    assert case.uri is not None and case.uri.startswith("data:image/png;base64,")
    assert [n.similarity for n in case.neighbours] == sorted(
        (n.similarity for n in case.neighbours), reverse=True
    )
    assert all(n.uri for n in case.neighbours) and len(case.neighbours) <= 5
    made = pd.read_parquet(run / "rounds/0001/synthetic.parquet")
    mine = made[made["parent_image_id"] == case.image_id]
    assert (case.n_samples, case.n_accepted) == (len(mine), int(mine["accepted"].sum()))
    assert len(case.samples) == min(6, len(mine)) and all(s.uri for s in case.samples)
    for sample in case.samples:
        row = mine[mine["sample_id"] == sample.sample_id].iloc[0]
        assert (sample.accepted, sample.reason) == (row["accepted"], row["reasons"])
        assert sample.judge_p == pytest.approx(row["judge_p"])


def test_probability_of_the_true_class_before_and_after(run: Path) -> None:
    cases, _ = cases_of(read_run(run))
    case = next(c for c in cases if c.round == 2)
    for folder, value in (("0001", case.before), ("0002", case.after)):
        frame = pd.read_parquet(run / f"rounds/{folder}/predictions.parquet").set_index("image_id")
        assert value == pytest.approx(frame.loc[case.image_id, f"p_{case.true}"])


def test_the_number_of_cases_is_bounded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_cases, "MAX_CASES", 6)
    cases, total = cases_of(read_run(run))
    assert len(cases) == 6 and total > 6
    assert sum(c.round == 1 for c in cases) == 3


@pytest.mark.parametrize(
    ("accepted", "rejected", "shown"),
    [(10, 10, (3, 3)), (1, 10, (1, 5)), (10, 1, (5, 1)), (10, 0, (6, 0)), (2, 1, (2, 1)), (0, 0, (0, 0))],
)
def test_accepted_and_rejected_share_the_room(accepted: int, rejected: int, shown: tuple[int, int]) -> None:
    made = [{"accepted": True}] * accepted + [{"accepted": False}] * rejected
    picked = report_cases._mixed(made)
    assert (sum(r["accepted"] for r in picked), sum(not r["accepted"] for r in picked)) == shown


def test_verdicts_for_the_filter() -> None:
    sample = report_cases.Sample(
        sample_id="s", uri=None, accepted=True, reason="", group="", judge_p=None, distance=None
    )
    fields = {
        "round": 1,
        "image_id": "i",
        "true": "nv",
        "predicted": "mel",
        "score": 0.0,
        "uri": None,
        "before": None,
    }
    fields |= {"after": None, "neighbours": (), "n_samples": 1, "n_accepted": 1}
    assert report_cases.Case(**fields, samples=(sample,)).verdicts == "accepted"
    assert report_cases.Case(**fields, samples=()).verdicts == "none"


def test_missing_files_leave_gaps(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "demo"
    shutil.copytree(run, copy)
    for name in ("neighbours.parquet", "synthetic.parquet", "predictions.parquet"):
        (copy / "rounds/0001" / name).unlink()
    shutil.rmtree(copy / "rounds/0001/thumbnails")
    cases, _ = cases_of(read_run(copy))
    case = cases[0]
    assert case.uri is None and case.neighbours == () and case.samples == () and case.after is None
    assert case.before is not None


def test_a_file_name_cannot_leave_the_round(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "demo"
    shutil.copytree(run, copy)
    path = copy / "rounds/0001/synthetic.parquet"
    frame = pd.read_parquet(path)
    shutil.copy(copy / "figures/contact_sheet.png", copy / "secret.png")
    frame["file"] = "../../secret.png"
    frame.to_parquet(path)
    cases, _ = cases_of(read_run(copy))
    assert all(s.uri is None for c in cases if c.round == 1 for s in c.samples)
