"""Where things of a run folder lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artifacts.run_layout import RunLayout, arm_label, arm_role, foundation_role, main_arm


def test_names_of_the_contract() -> None:
    run = RunLayout(Path("runs/demo"))
    there = (
        run.config,
        run.split,
        run.report,
        run.page,
        run.champion,
        run.roles,
        run.stage_log,
        run.tracking,
    )
    assert [run.relative(path) for path in there] == [
        "config.yaml", "split.parquet", "report.json", "report.html", "champion.json", "stages.json", "stages.jsonl",
        "mlflow.json",
    ]  # fmt: skip
    assert run.relative(run.contact_sheet) == "figures/contact_sheet.png"
    assert run.relative(run.lock) == ".lock"
    assert run.cache == Path("runs/stages")


@pytest.mark.parametrize(
    ("number", "arm", "folder"),
    [
        (0, "real", "rounds/0000"),
        (0, "hard", "rounds/0000/arms/hard"),
        (1, "hard", "rounds/0001"),
        (12, "real", "rounds/0012/arms/real"),
    ],
)
def test_the_main_arm_lies_in_the_rounds_folder(number: int, arm: str, folder: str) -> None:
    run = RunLayout(Path("demo"))
    assert run.relative(run.arm_folder(number, arm)) == folder
    assert run.relative(run.weights(number, arm)) == f"{folder}/classifier.safetensors"
    assert run.relative(run.calibration(number, arm)) == f"{folder}/calibration.json"
    assert run.relative(run.review(number, arm)) == f"{folder}/review.csv"
    assert (arm == main_arm(number)) == ("arms" not in folder)


def test_roles() -> None:
    assert arm_role(1, "hard", "classifier") == "rounds/0001/hard/classifier"
    assert foundation_role("vae") == "foundation/vae"
    assert arm_label(3, "random") == "0003/random"


def test_things_of_a_round() -> None:
    run = RunLayout(Path("demo"))
    there = (run.accept(2), run.thumbnails(2), run.pictures(2))
    assert [run.relative(path) for path in there] == [
        "rounds/0002/accept.json", "rounds/0002/thumbnails", "rounds/0002/synthetic"
    ]  # fmt: skip


def test_published_arms(tmp_path: Path) -> None:
    run = RunLayout(tmp_path)
    assert (run.published_arms(), run.round_numbers()) == ([], [])
    for folder in ("0000", "0001/arms/random", "0001/arms/real", "0010", "0001", "backup"):
        (tmp_path / "rounds" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "rounds" / folder / "classifier.safetensors").touch()
    (tmp_path / "rounds" / "0001" / "arms" / "mined").mkdir()
    assert run.round_numbers() == [0, 1, 10]
    assert run.published_arms() == [(0, "real"), (1, "hard"), (1, "random"), (1, "real"), (10, "hard")]


def test_a_trial_shares_the_cache_beside_its_sweep(tmp_path: Path) -> None:
    sweep = RunLayout(tmp_path / "runs" / "search")
    trial = sweep.trial(3)
    assert trial.path == tmp_path / "runs" / "search" / "trials" / "0003"
    assert trial.cache == tmp_path / "runs" / "search" / "trials" / "stages"
    sweep.path.mkdir(parents=True)
    sweep.journal.touch()
    assert sweep.is_sweep
    assert trial.cache == sweep.cache == tmp_path / "runs" / "stages"
