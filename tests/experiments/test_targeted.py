"""The targeted study: settings are configs, folds are kept and collected into both endpoints' contrasts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import build
from engine.arms import CONFIRMATORY
from engine.artifacts.run_files import read_run
from engine.config import Config
from engine.errors import ConfigError
from engine.store.files import read_json, write_json
from engine.study.comparison import corrected_t
from engine.study.contrasts import make_study
from engine.study.design import find_design
from engine.study.replicates import Replicate
from engine.study.run_replicates import open_replicate
from experiments import targeted
from experiments.lib import folds, targeted_study
from experiments.lib.folds import replicates
from experiments.lib.keeping import EXPERIMENTS, this_command
from experiments.lib.outcomes import pack_arm, pack_cases, scored_arm, unpack
from experiments.lib.parted import read_parted
from experiments.lib.targeted_study import PANELS, collect_study
from tests.experiments.fake_replicates import opened

CONFIG = EXPERIMENTS / "configs" / "targeted_32.yaml"
ENDPOINTS = tuple(PANELS)[:2]


@pytest.mark.parametrize("name", targeted.SETTINGS)
def test_every_setting_is_a_config_that_seals_test(name: str) -> None:
    assert build.load(CONFIG, [*targeted.SETTINGS[name], "data.root=/data"]).data.split.seal == "test"


def keep(folder: Path, run: Replicate, fold: int, number: int = 0, **config: Any) -> None:
    facts = {"fold": fold, "set": number, "split_digest": "d", "config": config}
    arms = {arm: scored_arm(run, arm) for arm in run.arms}
    write_json(
        folder / f"study_{fold}_{number}.json",
        {**facts, "cases": pack_cases(run), "arms": arms, "round_0": {}},
    )


def study_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())["study"]
    return found


def test_folds_whose_files_leave_out_other_training_sets_are_collected(tmp_path: Path) -> None:
    """Files of the frozen engine do not say that they leave lesions out; their config does."""
    runs = opened(tmp_path / "runs", folds=True, replicates=2, arms=("real", "hard"), primary=ENDPOINTS)
    split = {"split": {"train_sets": {"use": [2]}}}
    for fold, run in enumerate(runs):
        some = frozenset(sorted(run.lesions("train"))[:30])
        keep(tmp_path, replace(run, parts={**run.parts, "train": some}), fold, data=split)
    found = replicates([read_parted(path) for path in sorted(tmp_path.glob("study_*.json"))])
    assert [run.whole for run in found] == [False, False]
    assert make_study(found, draws=20).design.kind == "cross-validation"
    again = unpack(pack_cases(found[0]), {arm: pack_arm(found[0], arm) for arm in found[0].arms})
    assert not again.whole


def test_folds_become_contrasts_of_both_endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targeted_study, "SETS", 1)
    arms = ("real", "classical", "random", "hard")
    runs = opened(
        tmp_path / "runs", folds=True, replicates=5, arms=arms, primary=ENDPOINTS, gain={"hard": 0.8},
        classifier_seeds=2,
    )  # fmt: skip
    folder = tmp_path / "targeted"
    folder.mkdir()
    assert collect_study(folder) is None
    for fold, run in enumerate(runs[:4]):
        keep(folder, run, fold)
    collect_study(folder, draws=200)
    assert study_of(folder)["answer"]["reason"] == "4 of 5 folds are scored"
    assert not {one["claim"] for one in study_of(folder)["contrasts"]} & {"better", "worse"}
    keep(folder, runs[4], 4)
    collect_study(folder, draws=1600)  # 400 per contrast of the family
    family = [one for one in study_of(folder)["contrasts"] if one["role"] == "confirmatory"]
    assert {(one["figure"], one["baseline"]) for one in family} == {
        (figure, arm) for figure in ENDPOINTS for arm in arms if arm in CONFIRMATORY
    }
    assert {one["claim"] for one in family} == {"better"}
    direct = [
        [(arm_auc(run, "hard") - arm_auc(run, "random")) for run in runs],
        next(one for one in family if one["baseline"] == "random" and one["figure"] == "malignant.auc")[
            "values"
        ],
    ]
    np.testing.assert_allclose(direct[0], direct[1], atol=1e-4)
    assert {row["baseline"] for row in study_of(folder)["power"]} == set(arms) - {"hard"}
    table = (folder / "table.md").read_text()
    assert study_of(folder)["answer"]["sentence"] in table
    row, since = [line for line in table.splitlines() if line.startswith("| log_loss | random | -")]
    first = next(
        c for c in study_of(folder)["contrasts"] if (c["figure"], c["baseline"]) == ("log_loss", "random")
    )
    assert row.split(" | ")[3] == f"{100 * first['values'][0]:+.2f}"
    found = find_design(runs)
    planned, today = study_of(folder)["design"], corrected_t(np.array(first["values"]), found.correlation)
    assert (planned["correlation"], planned["in_common"]) == (found.cap, found.in_common)
    assert f"({100 * today.low:+.2f} to {100 * today.high:+.2f}) | {today.p_value:.3f} |" in since
    assert (folder / "contrasts.png").stat().st_size > 10_000
    keep(folder, runs[3], 3, denoiser={"steps": 7})
    with pytest.raises(ConfigError, match=r"fold 3, set 0: .*denoiser\.steps"):
        collect_study(folder)


def arm_auc(run: Replicate, arm: str) -> float:
    from sklearn.metrics import roc_auc_score

    truth = np.isin(run.test.label_N, run.malignant_columns)
    scores = [prob[:, run.malignant_columns].sum(axis=1) for prob in run.test.seeds(arm)]
    return float(np.mean([roc_auc_score(truth, score) for score in scores]))


def test_a_study_without_all_training_sets_of_the_protocol_forbids_a_claim() -> None:
    unfinished = targeted_study.unfinished
    whole = [{"fold": fold, "set": number} for fold in range(5) for number in range(targeted_study.SETS)]
    assert unfinished(whole) == ""
    assert unfinished(whole[:-1]) == "9 training sets are scored; the protocol says 2 per fold"
    assert unfinished([entry for entry in whole if entry["set"] == 0]).startswith(
        "5 training sets are scored"
    )
    assert unfinished([entry for entry in whole if entry["fold"]]) == "4 of 5 folds are scored"


def test_replicates_with_other_endpoints_are_refused(tmp_path: Path) -> None:
    (run,) = opened(tmp_path / "runs", replicates=1)
    keep(tmp_path, run, 0)
    with pytest.raises(
        ConfigError, match=r"evaluation\.primary: the protocol names malignant\.auc, log_loss"
    ):
        collect_study(tmp_path)


def test_nothing_is_scored_before_the_study_is_frozen_or_with_test_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["data.root=/data"]
    with pytest.raises(ConfigError, match="the study is not frozen"):
        targeted.run(CONFIG, 0, 0, settings, tmp_path, None)
    monkeypatch.setattr(targeted, "require_engine", lambda *_, **__: None)
    with pytest.raises(ConfigError, match=r"data\.split\.seal: hides the test part"):
        targeted.run(CONFIG, 0, 0, settings, tmp_path, "abc")


def test_a_fold_that_is_kept_is_read_again_as_it_was(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = read_run(tiny_run)
    report = read_json(tiny_run / "report.json")
    monkeypatch.setattr(folds.build, "run", lambda *_, **__: (kept, report))
    path = folds.score(
        Config(**kept.config), "fold 0 set 0", tmp_path / "new" / "study_0_0.json", {"fold": 0, "set": 0}
    )
    found = read_json(path)
    assert (found["fold"], found["set"], found["command"]) == (0, 0, this_command())
    (again,) = folds.replicates([found])
    direct = open_replicate(kept, "fold 0 set 0")
    assert again.parts == direct.parts
    for arm in direct.arms:
        np.testing.assert_allclose(again.test.prob[arm], direct.test.prob[arm], atol=1e-4)
        last = [entry for entry in report["rounds"] if entry["arm"] == arm][-1]
        assert found["arms"][arm]["ece"] == last["test"]["ece"]
