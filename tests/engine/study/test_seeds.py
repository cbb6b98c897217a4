"""Several classifier seeds of an arm: read from their folders, averaged inside a replicate, in every draw too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from engine.artifacts import predictions
from engine.artifacts.run_files import read_run
from engine.errors import DataError
from engine.study.contrasts import make_study
from engine.study.paired_tests import paired_tests
from engine.study.replicates import Replicate, arm_figures, seed_figures
from engine.study.run_replicates import further_seeds, open_replicate, why_unread
from tests.engine.study.fake_study import write_study

ARMS = ("real", "random", "hard")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeds")
    return write_study(root, arms=ARMS, lesions=300, replicates=1, classifier_seeds=3)[0]


@pytest.fixture(scope="module")
def run(path: Path) -> Replicate:
    return open_replicate(read_run(path))


def test_every_seed_is_read_the_first_from_the_arms_own_folder(path: Path, run: Replicate) -> None:
    folder = path / "rounds/0001/arms/random"
    assert further_seeds(folder) == [1, 2]
    for arm in ARMS:
        assert len(run.test.seeds(arm)) == len(run.val.seeds(arm)) == 3
    for place, where in enumerate((folder, folder / "seed_1", folder / "seed_2")):
        found = predictions.read(where)
        rows = np.flatnonzero(found.split == "test")
        ordered = found.take(rows[np.argsort(found.image_id[rows])]).prob_NC
        assert (run.test.seeds("random")[place] == ordered).all()


def test_figures_are_means_over_seeds_in_every_draw(run: Replicate) -> None:
    alone = [
        replace(
            run,
            val=replace(run.val, prob={"hard": run.val.seeds("hard")[z]}, further={}),
            test=replace(run.test, prob={"hard": run.test.seeds("hard")[z]}, further={}),
        )
        for z in range(3)
    ]
    each = [arm_figures(one, "hard", 40, 0) for one in alone]
    found = arm_figures(run, "hard", 40, 0)
    for name in ("malignant.auc", "log_loss", "malignant.sensitivity", "per_class.mel.sensitivity"):
        assert found.point[name] == pytest.approx(np.mean([one.point[name] for one in each]))
        np.testing.assert_allclose(found.drawn[name], np.mean([one.drawn[name] for one in each], axis=0))
    assert [one.point for one in seed_figures(run, "hard", 40, 0)] == [one.point for one in each]


def test_the_order_of_further_seeds_does_not_matter(run: Replicate) -> None:
    turned = replace(
        run,
        val=replace(run.val, further={a: many[::-1] for a, many in run.val.further.items()}),
        test=replace(run.test, further={a: many[::-1] for a, many in run.test.further.items()}),
    )
    forth, back = (make_study([one], draws=30).contrasts for one in (run, turned))
    for one, other in zip(forth, back, strict=True):
        assert one.difference.value == pytest.approx(other.difference.value)
        assert one.difference.low == pytest.approx(other.difference.low)


def test_paired_tests_see_the_first_seed(run: Replicate) -> None:
    first = replace(run, val=replace(run.val, further={}), test=replace(run.test, further={}))
    assert paired_tests(run, "hard", "real") == paired_tests(first, "hard", "real")


def test_a_seed_that_one_arm_lacks_is_named(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "run")
    shutil.rmtree(copy / "rounds/0001/arms/random/seed_2")
    assert why_unread(read_run(copy)) == (
        "predictions of some classifier seeds of random are not in the run folder"
    )
    with pytest.raises(DataError, match="classifier seeds of random"):
        open_replicate(read_run(copy))


def test_seeds_that_the_config_names_must_be_there(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "run")
    for folder in copy.rglob("seed_2"):
        shutil.rmtree(folder)
    assert why_unread(read_run(copy)) == ""
    tree = yaml.safe_load((copy / "config.yaml").read_text())
    tree["loop"]["seeds"] = [0, 1, 2]
    (copy / "config.yaml").write_text(yaml.safe_dump(tree))
    assert "classifier seeds of real, random, hard" in why_unread(read_run(copy))


def test_a_seed_that_predicts_other_images_is_refused(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "run")
    folder = copy / "rounds/0001/seed_1"
    found = predictions.read(folder)
    predictions.write(found.take(np.arange(1, len(found))), folder)
    with pytest.raises(DataError, match="arm hard predicts other"):
        open_replicate(read_run(copy))
