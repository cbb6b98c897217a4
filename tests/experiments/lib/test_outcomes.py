"""What a replicate of the proof leaves behind survives the file, and says in a study what the run folder would have said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.artifacts.run_files import read_run
from engine.artifacts.split import SplitTable
from engine.errors import ConfigError, DataError
from engine.store.files import write_json
from engine.study.contrasts import PRIMARY, make_study
from engine.study.replicates import Replicate
from engine.study.run_replicates import open_replicate, replicate_of
from engine.types import Predictions, strings
from experiments import arms_full
from experiments.lib.outcomes import pack_arm, pack_cases, point_figures, read_set, unpack, write_set
from experiments.table1 import report as table1_report
from experiments.table1.tried import setting
from tests.engine.study.fake_study import write_study

ARMS = ("real", "random", "hard")


def opened(root: Path, **what: Any) -> list[Replicate]:
    paths = write_study(root, **{"arms": ARMS, "lesions": 400, "replicates": 6, **what})
    return [open_replicate(read_run(path)) for path in paths]


def through_text(run: Replicate) -> Replicate:
    text = json.dumps({"cases": pack_cases(run), "arms": {arm: pack_arm(run, arm) for arm in run.arms}})
    found = json.loads(text)
    return unpack(found["cases"], found["arms"])


def test_a_replicate_survives_the_file(tmp_path: Path) -> None:
    run = opened(tmp_path, replicates=1)[0]
    again = through_text(run)
    for name in ("name", "seed", "protocol", "classes", "endpoints", "references", "parts", "arms"):
        assert getattr(again, name) == getattr(run, name), name
    for ours, theirs in ((again.val, run.val), (again.test, run.test)):
        assert ours.image_id.tolist() == theirs.image_id.tolist()
        assert ours.lesion_id.tolist() == theirs.lesion_id.tolist()
        assert ours.label_N.tolist() == theirs.label_N.tolist()
        for arm in ARMS:
            assert np.abs(ours.prob[arm] - theirs.prob[arm]).max() <= 0.5 / 65535 + 1e-12
    assert len(pack_arm(run, "real")["test"]) < 11 * run.test.prob["real"].size / 3, (
        "two bytes and base64 at most"
    )


def test_settings_tried_on_one_set_share_its_cases(tmp_path: Path) -> None:
    first, other = (pack_cases(run) for run in opened(tmp_path, replicates=2))
    tables = {
        "a": {"cases": first, "cells": {"x": 1}},
        "b": {"cells": {}},
        "c": {"cases": dict(first)},
        "d": {"cases": other},
    }
    found = {"set": 0, "part": "development", "tables": tables}
    write_set(tmp_path / "set_00.json", found)
    assert read_set(tmp_path / "set_00.json") == found
    assert len(json.loads((tmp_path / "set_00.json").read_text())["cases"]) == 2
    write_json(tmp_path / "older.json", found)  # a confirming set, by the engine the study began with
    assert read_set(tmp_path / "older.json") == found


def test_groups_survive_the_file_where_they_say_more_than_lesions(tmp_path: Path) -> None:
    path = write_study(tmp_path, replicates=1, lesions=200, arms=ARMS)[0]
    split = pd.read_parquet(path / "split.parquet")
    split.assign(group=split["lesion_id"].str[:-1]).to_parquet(path / "split.parquet")
    run = open_replicate(read_run(path))
    again = through_text(run)
    assert again.test.group_N.tolist() == [lesion[:-1] for lesion in run.test.lesion_id.tolist()]
    assert again.test.lesion_id.tolist() == run.test.lesion_id.tolist()
    assert "group" not in pack_cases(opened(tmp_path / "plain", replicates=1)[0])["test"]


@pytest.mark.parametrize("folds", [False, True])
def test_a_study_of_kept_replicates_is_that_of_the_run_folders(tmp_path: Path, folds: bool) -> None:
    runs = opened(tmp_path, folds=folds)
    kept, direct = (make_study(found, draws=200) for found in ([through_text(r) for r in runs], runs))
    for contrast in direct.contrasts:
        other = kept.contrast(contrast.figure, contrast.baseline)
        assert other is not None
        assert other.difference.value == pytest.approx(contrast.difference.value, abs=2e-3)
    assert kept.answer.verdict == direct.answer.verdict
    assert kept.design.kind == ("cross-validation" if folds else "shared test")


def test_point_figures_by_hand() -> None:
    ids = strings(["v1", "v2", "v3", "c", "a", "b", "d"])
    parts = strings(["val"] * 3 + ["test"] * 4)
    dx = strings(["nv", "nv", "mel", "mel", "nv", "mel", "bkl"])
    lesions = strings(["L3", "L4", "L5", "L1", "L2", "L1", "L6"])
    bkl, mel, nv = (
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5],
        [0.1, 0.4, 0.9, 0.6, 0.5, 0.3, 0.2],
        [0.8, 0.5, 0.0, 0.3, 0.4, 0.6, 0.3],
    )
    classes = ("bkl", "mel", "nv")
    found = Predictions(
        image_id=ids,
        classes=classes,
        prob_NC=np.array([bkl, mel, nv]).T,
        label_N=np.array([classes.index(name) for name in dx]),
        split=parts,
    )
    split = SplitTable(image_id=ids, lesion_id=lesions, dx=dx, split=parts, group_N=lesions)
    tree = {"data": {"malignant": ["mel"]}, "loop": {"seed": 4}}
    run = replicate_of({"hard": found}, split, tree, name="set 2", protocol="safe")
    assert run.test.image_id.tolist() == ["a", "b", "c", "d"]
    assert run.test.lesion_id.tolist() == ["L2", "L1", "L1", "L6"]
    assert (run.seed, run.endpoints.malignant) == (4, ("mel",))
    # val: above every benign score (0.4) for 90 % specificity, so 0.9 is the point; melanoma's: 0.9 too
    assert point_figures(run, "hard") == {
        PRIMARY: 0.0,
        "malignant.specificity": 1.0,
        "melanoma.sensitivity": 0.0,
        "accuracy": 2 / 4,  # c and d
        "balanced_accuracy": pytest.approx((1 + 1 / 2 + 0) / 3),
    }
    chosen = replicate_of({"hard": found}, split, tree, name="set 0", protocol="safe", scored="val")
    assert chosen.test.image_id.tolist() == chosen.val.image_id.tolist() == ["v1", "v2", "v3"]
    assert chosen.parts["test"] == chosen.parts["val"]
    assert point_figures(chosen, "hard")["accuracy"] == 1.0
    nothing = replicate_of({"hard": found}, split, {}, name="set 0", protocol="safe")
    assert point_figures(nothing, "hard")[PRIMARY] is None


def test_an_image_the_split_lacks_is_named_an_error() -> None:
    found = Predictions(
        image_id=strings(["a"]),
        classes=("nv", "mel"),
        prob_NC=np.array([[0.9, 0.1]]),
        label_N=np.array([0]),
        split=strings(["test"]),
    )
    lesions = strings(["L"])
    other = SplitTable(
        image_id=strings(["b"]),
        lesion_id=lesions,
        dx=strings(["nv"]),
        split=strings(["test"]),
        group_N=lesions,
    )
    with pytest.raises(DataError, match=r"set 2: split\.parquet lacks images"):
        replicate_of({"hard": found}, other, {}, name="set 2", protocol="safe")


def write_fold(folder: Path, run: Replicate, fold: int, seed: int = 0, **changed: Any) -> None:
    arms = {arm: {"figures": point_figures(run, arm), "outcome": pack_arm(run, arm)} for arm in run.arms}
    config = {"data": {"split": {"folds": {"count": 5, "use": fold}}}, "loop": {"seed": seed}, **changed}
    cases = {**pack_cases(run), "seed": seed}
    write_json(
        folder / f"fold_{fold}_seed_{seed}.json",
        {"fold": fold, "split_digest": "d", "config": config, "cases": cases, "arms": arms},
    )


def test_folds_are_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms_full, "DRAWS", 200)
    runs = opened(tmp_path / "runs", folds=True, replicates=5, gain={"hard": -0.6})
    folder = tmp_path / "arms_full"
    folder.mkdir()
    for fold, run in enumerate(runs):
        write_fold(folder, run, fold)
    write_fold(folder, runs[0], 0, seed=1)  # a second seed that the other folds do not have yet
    arms_full.collect(folder)
    found = json.loads((folder / "result.json").read_text())
    assert (found["folds"], found["seeds"]) == ([0, 1, 2, 3, 4], [0])
    assert found["study"]["design"]["kind"] == "cross-validation"
    assert found["study"]["answer"]["verdict"] == "hurt", found["study"]["answer"]
    assert (folder / "contrasts.png").stat().st_size > 10_000
    (folder / "fold_4_seed_0.json").rename(tmp_path / "kept.json")
    arms_full.collect(folder)
    answer = json.loads((folder / "result.json").read_text())["study"]["answer"]
    assert (answer["verdict"], answer["reason"]) == ("not shown", "4 of 5 folds are scored")
    (tmp_path / "kept.json").rename(folder / "fold_4_seed_0.json")
    arms_full.collect(folder)
    table = (folder / "table.md").read_text()
    assert "Folds finished: 0, 1, 2, 3, 4" in table
    assert found["study"]["answer"]["sentence"] in table
    assert "| random |" in table
    write_fold(folder, runs[3], 3, denoiser={"steps": 7})
    with pytest.raises(
        ConfigError, match=r"fold 3, seed 0: .* denoiser\.steps \(None there, 7 now\); run it again"
    ):
        arms_full.collect(folder)


def test_no_fold_yet_is_said(tmp_path: Path) -> None:
    assert "Folds finished: none" in (arms_full.collect(tmp_path) / "table.md").read_text()


def cell(run: Replicate, arm: str, synthetic: int) -> dict[str, Any]:
    """A cell of a set's file: an arm of 500 real images and so many synthetic ones."""
    return {
        "n_real": 500,
        "n_synthetic": synthetic,
        "figures": point_figures(run, arm),
        "outcome": pack_arm(run, arm),
    }


def stop_half_way(path: Path) -> None:
    """Leave a set as a call leaves it that was killed before its last row, begun by another commit."""
    found = json.loads(path.read_text())
    cells = found["tables"][table1_report.PRIMARY_TABLE]["cells"]
    del cells["resnet18 | Hybrid1000 random"]
    cells["resnet18 | Hybrid1000"]["made"] = {"commit": "bbbbbbb"}
    write_json(path, found)


@pytest.mark.parametrize(
    ("gain", "lesions", "verdict"), [(0.5, 2500, "helped"), (-0.6, 400, "hurt"), (0.0, 400, "not shown")]
)
def test_sets_of_table_one_are_collected(
    tmp_path: Path, gain: float, lesions: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table1_report, "DRAWS", 200)
    folder = tmp_path / "table1"
    folder.mkdir()
    runs = opened(tmp_path / "runs", gain={"hard": gain}, lesions=lesions, replicates=8)
    for number, run in enumerate(runs, start=2):
        rows = {"real": "Origin500 plain", "random": "Hybrid1000 random", "hard": "Hybrid1000"}
        cells = {f"resnet18 | {rows[arm]}": cell(run, arm, synthetic=500) for arm in run.arms}
        config = {"data": {"split": {"train_sets": {"use": [2 * number]}}}, "classifier": {"steps": 500}}
        config |= {"loop": {"arms": list(ARMS)}}
        table = {"cases": pack_cases(run), "cells": cells, "config": config, "commit": "aaaaaaa"}
        write_json(
            folder / f"set_{number:02d}.json",
            {"set": number, "part": "confirm", "tables": {table1_report.PRIMARY_TABLE: table}},
        )
    table1_report.collect(folder)
    entry = json.loads((folder / "result.json").read_text())["tables"][0]
    assert entry["primary"]
    assert entry["sets"] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert entry["study"]["answer"]["verdict"] == verdict, entry["study"]["answer"]
    text = (folder / "table.md").read_text()
    assert entry["study"]["answer"]["sentence"] in text
    assert "| Hybrid1000 | 8 | 500 + 500 |" in text
    assert "Made by aaaaaaa." in text
    assert (folder / "table.png").stat().st_size > 10_000
    assert (folder / "contrasts.png").stat().st_size > 10_000
    stop_half_way(folder / "set_09.json")
    table1_report.collect(folder)
    study = json.loads((folder / "result.json").read_text())["tables"][0]["study"]
    assert study["design"]["replicates"] == 7
    assert (study["answer"]["verdict"], study["answer"]["reason"]) == (
        "not shown",
        "7 training sets; 9 of the planned ones are missing",
    )
    assert not {"better", "worse"} & {contrast["claim"] for contrast in study["contrasts"]}
    text = (folder / "table.md").read_text()
    assert ("| Hybrid1000 | 8 |" in text) and ("| Hybrid1000 random | 7 |" in text)
    assert "Made by aaaaaaa, bbbbbbb." in text
    other = json.loads((folder / "set_07.json").read_text())
    other["tables"][table1_report.PRIMARY_TABLE]["config"]["classifier"]["steps"] = 300
    write_json(folder / "set_07.json", other)
    with pytest.raises(ConfigError, match=r"set 7, confirm, .* classifier\.steps \(500 there, 300 now\)"):
        table1_report.collect(folder)


def test_one_set_has_means_and_no_contrast(tmp_path: Path) -> None:
    run = opened(tmp_path / "runs", replicates=1)[0]
    cells = {"resnet18 | Origin500": {"n_real": 500, "n_synthetic": 0, "figures": point_figures(run, "real")}}
    write_json(
        tmp_path / "set_00.json",
        {
            "set": 0,
            "part": "development",
            "tables": {"own in total 64 px": {"cells": cells, "config": {}, "commit": "a"}},
        },
    )
    table1_report.collect(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "scored on val" in text
    assert "no contrast yet" in text


def test_one_confirming_set_compares_synthetic_with_real_images_by_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table1_report, "DRAWS", 200)
    run = opened(tmp_path / "runs", gain={"hard": -0.6}, replicates=1)[0]
    arms = {"Origin500": "real", "Hybrid1000": "hard", "Synthetic500": "random"}
    cells = {
        f"{model} | {row}": cell(run, arm, synthetic=300)
        for model in ("resnet18", "vgg16")
        for row, arm in arms.items()
    }
    del cells["resnet18 | Hybrid1000"]
    config = {"data": {"image_size": 32}, "loop": {"generator_saw": "train", "arms": list(ARMS)}}
    table = {"cases": pack_cases(run), "cells": cells, "config": config, "commit": "aaaaaaa"}
    write_json(
        tmp_path / "set_02.json", {"set": 2, "part": "confirm", "tables": {"train in total 32 px": table}}
    )
    table1_report.collect(tmp_path)
    (entry,) = json.loads((tmp_path / "result.json").read_text())["tables"]
    assert not entry["primary"]
    assert list(entry["by_model"]) == ["vgg16"], "a model without both rows is left out"
    found = entry["by_model"]["vgg16"]["malignant.sensitivity"]
    alone, hybrid = (point_figures(run, arm)["malignant.sensitivity"] for arm in ("real", "hard"))
    assert (found["real"], found["hybrid"]) == (alone, hybrid)
    assert found["difference"] == pytest.approx(hybrid - alone, abs=1e-9)
    assert found["low"] < found["difference"] < found["high"] < 0
    text = (tmp_path / "table.md").read_text()
    assert "On a CPU: 32 px instead of 64, one training set, one seed." in text
    assert "The generator saw the whole pool" in text
    assert "| +4.80 |" in text, "Kim et al.: VGG16 gains 90.03 - 85.23"


def test_a_setting_is_named_by_what_changed() -> None:
    tables = {0: {"commit": "abcdef0123"}}
    tried = "own in total 64 px, loop.arms=[real, hard], synthesis.strength=0.5"
    assert setting(tried, tables) == "synthesis.strength=0.5"
    assert setting("own in total 64 px, loop.arms=[hard]", tables) == "the config of abcdef0"
    assert setting("own in total 32 px, loop.arms=[hard]", tables) == "32 px: the config of abcdef0"
