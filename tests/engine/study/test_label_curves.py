"""Learning curves read from run folders: against scikit-learn's AUC of the same predictions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from engine.artifacts.run_files import read_run
from engine.evaluation.scoring import malignant_score
from engine.study.design import find_design
from engine.study.label_curves import LabelCurves, label_curves, malignant_auc
from engine.study.label_scores import read_scores
from engine.study.replicates import arm_figures
from engine.study.run_replicates import open_replicate
from tests.engine.study.fake_labels import ASKED, write_label_study
from tests.engine.study.fake_study import MALIGNANT

GAIN = {"queried": 0.5, "queried_random": 0.25, "hard": 0.4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("labels")
    return write_label_study(root, GAIN, replicates=2, lesions=400, classifier_seeds=2)


def curves_of(runs: list[Path]) -> LabelCurves:
    files = [read_run(path) for path in runs]
    scores = [one for file in files if (one := read_scores(file)) is not None]
    found = label_curves(scores, find_design([open_replicate(run) for run in files]), draws=60)
    assert found is not None
    return found


def auc(folder: Path) -> float:
    """The mean over classifier seeds of the malignant AUC on test."""
    found = []
    for seed in (folder, folder / "seed_1"):
        frame = pd.read_parquet(seed / "predictions.parquet")
        frame = frame[frame["split"] == "test"]
        score = frame[[f"p_{dx}" for dx in MALIGNANT]].sum(axis=1)
        found.append(roc_auc_score(frame["dx"].isin(MALIGNANT), score))
    return float(np.mean(found))


def test_every_point_is_the_auc_of_its_round(runs: list[Path]) -> None:
    found = curves_of(runs)
    assert list(found.curves) == ["queried", "queried_random"] and list(found.levels) == ["real", "hard"]
    for arm, curve in found.curves.items():
        assert curve.asked_P.tolist() == [0.0, ASKED]
        expected = [[auc(run / "rounds/0000"), auc(run / f"rounds/0001/arms/{arm}")] for run in runs]
        assert curve.value_RP == pytest.approx(np.array(expected))
    assert found.levels["hard"].value_RP == pytest.approx(
        np.array([[auc(run / "rounds/0001")] for run in runs])
    )


def test_the_draws_are_those_of_the_studys_other_figures(runs: list[Path]) -> None:
    replicate = open_replicate(read_run(runs[0]))
    columns = replicate.malignant_columns
    scores = [malignant_score(prob_NC, columns) for prob_NC in replicate.test.seeds("hard")]
    value, drawn_B = malignant_auc(replicate.test, columns, scores, 50, 3)
    figures = arm_figures(replicate, "hard", 50, 3)
    assert value == pytest.approx(figures.point["malignant.auc"])
    assert drawn_B == pytest.approx(figures.drawn["malignant.auc"])


def test_more_than_random_asking_has_had(runs: list[Path]) -> None:
    (found,) = curves_of(runs).savings()
    assert found.labels == found.most == ASKED and found.needed.value == math.inf
    assert found.saved is None or found.saved.value == 0.0


def test_savings_are_read_between_the_points(tmp_path: Path) -> None:
    runs = write_label_study(tmp_path, {"queried": 0.3, "queried_random": 0.9}, replicates=2, lesions=400)
    found = curves_of(runs)
    query, random = (found.curves[arm].mean_P for arm in ("queried", "queried_random"))
    assert random[1] > query[1] > random[0]
    share = (query[1] - random[0]) / (random[1] - random[0])
    assert found.savings()[0].needed.value == pytest.approx(ASKED * share)


def test_one_label_in_synthetic_images(runs: list[Path]) -> None:
    found = curves_of(runs)
    real, hard = (float(found.levels[arm].mean_P[0]) for arm in ("real", "hard"))
    query = float(found.curves["queried"].mean_P[-1])
    assert found.images == 120
    worth, why = found.worth()
    assert worth is not None and why == ""
    assert worth.value == pytest.approx((query - real) / ASKED / ((hard - real) / 120))
    assert worth.low < worth.value < worth.high


def test_without_predictions_of_a_round_there_are_no_curves(tmp_path: Path) -> None:
    (run,) = write_label_study(tmp_path, GAIN, replicates=1, lesions=300)
    (run / "rounds/0000/predictions.parquet").unlink()
    assert read_scores(read_run(run)) is None
