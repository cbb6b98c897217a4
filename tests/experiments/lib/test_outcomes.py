"""What a replicate of the proof leaves behind survives the file, and says in a study what the run folder would have said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.artifacts.run_files import read_run
from engine.artifacts.split import SplitTable
from engine.errors import DataError
from engine.study.contrasts import PRIMARY, make_study
from engine.study.replicates import Replicate
from engine.study.run_replicates import open_replicate, replicate_of
from engine.types import Predictions, strings
from experiments.lib.outcomes import pack_arm, pack_cases, point_figures, unpack
from tests.engine.study.fake_study import write_study
from tests.experiments.fake_replicates import ARMS, opened


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


def test_groups_survive_the_file_where_they_say_more_than_lesions(tmp_path: Path) -> None:
    path = write_study(tmp_path, replicates=1, lesions=200, arms=ARMS)[0]
    split = pd.read_parquet(path / "split.parquet")
    split.assign(group=split["lesion_id"].str[:-1]).to_parquet(path / "split.parquet")
    run = open_replicate(read_run(path))
    again = through_text(run)
    assert again.test.group_N.tolist() == [lesion[:-1] for lesion in run.test.lesion_id.tolist()]
    assert again.test.lesion_id.tolist() == run.test.lesion_id.tolist()
    assert "group" not in pack_cases(opened(tmp_path / "plain", replicates=1)[0])["test"]


@pytest.mark.slow
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


def test_seeds_pools_and_the_planned_figures_survive_the_file(tmp_path: Path) -> None:
    run = opened(tmp_path, replicates=1, classifier_seeds=2, primary=("malignant.auc", "log_loss"))[0]
    again = through_text(run)
    assert again.endpoints == run.endpoints and again.pools == run.pools != {}
    for part, other in ((again.val, run.val), (again.test, run.test)):
        for ours, theirs in zip(part.seeds("hard"), other.seeds("hard"), strict=True):
            assert np.abs(ours - theirs).max() <= 0.5 / 65535 + 1e-12


def test_a_file_that_names_no_endpoint_was_planned_on_the_sensitivity(tmp_path: Path) -> None:
    run = opened(tmp_path, replicates=1, primary=("log_loss",))[0]
    cases = pack_cases(run)
    del cases["endpoints"]["primary"], cases["pools"]
    found = unpack(cases, {arm: pack_arm(run, arm) for arm in run.arms})
    assert found.endpoints.primary == (PRIMARY,) and found.pools == {}
