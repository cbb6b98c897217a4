"""What replicates leave behind survives the file, its figures are right, and their contrasts follow the design."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.classifier.calibration import Calibration
from engine.errors import DataError
from experiments.arms_full import cross_validation
from experiments.outcomes import Cases, Outcome, point_figures, read_replicate
from experiments.replicates import Replicate, analyse, differences, one_test_part

CLASSES = ("bkl", "mel", "nv")


def cases(labels: list[int], lesions: list[int] | None = None, digest: str = "d") -> Cases:
    lesion = list(range(len(labels))) if lesions is None else lesions
    return Cases(
        classes=CLASSES,
        malignant=(1,),
        label_N=np.array(labels),
        lesion_N=np.array(lesion),
        digest=digest,
    )


def outcome(predicted: list[int], called: list[int], melanoma: list[int] | None = None) -> Outcome:
    return Outcome(
        predicted_N=np.array(predicted),
        called_N=np.array(called, dtype=bool),
        melanoma_N=np.array(called if melanoma is None else melanoma, dtype=bool),
    )


def test_figures_by_hand_and_through_a_file() -> None:
    these = cases([1, 1, 1, 1, 2, 2, 0, 2])
    said = outcome([1, 1, 1, 2, 2, 1, 0, 2], [1, 1, 1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0])
    expected = {
        "malignant_sensitivity": 3 / 4,
        "malignant_specificity": 3 / 4,
        "melanoma_sensitivity": 2 / 4,
        "accuracy": 6 / 8,
        "balanced_accuracy": (1 + 3 / 4 + 2 / 3) / 3,
    }
    assert point_figures(these, said) == pytest.approx(expected)
    text = json.dumps({"cases": these.to_json(), "outcome": said.to_json()})
    found = json.loads(text)
    again = point_figures(Cases.from_json(found["cases"]), Outcome.from_json(found["outcome"]))
    assert again == pytest.approx(expected)
    assert len(text) < 400


def test_a_missing_class_is_null() -> None:
    assert point_figures(cases([2, 2]), outcome([2, 2], [0, 0]))["malignant_sensitivity"] is None


def test_melanoma_without_an_operating_point_is_null() -> None:
    said = Outcome(predicted_N=np.array([1, 2]), called_N=np.array([True, False]))
    assert Outcome.from_json(said.to_json()).melanoma_N is None
    found = point_figures(cases([1, 2]), said)
    assert (found["melanoma_sensitivity"], found["malignant_sensitivity"]) == (None, 1.0)


def write_stage(folder: Path, threshold: float | None = 0.5) -> tuple[Path, Path]:
    """Folders of a predict and a split stage: two val images, three of test."""
    frame = pd.DataFrame(
        {
            "image_id": ["c", "a", "b", "v1", "v2"],
            "split": ["test", "test", "test", "val", "val"],
            "dx": ["mel", "nv", "mel", "nv", "mel"],
            "p_bkl": 0.1,
            "p_mel": [0.6, 0.5, 0.3, 0.1, 0.9],
            "p_nv": [0.3, 0.4, 0.6, 0.8, 0.0],
        }
    )
    frame.to_parquet(folder / "predictions.parquet")
    Calibration(
        temperature=1.0,
        malignant=("mel",),
        threshold=threshold,
        specificity=0.9,
        classes=CLASSES,
        melanoma="mel",
        melanoma_threshold=0.55,
        melanoma_sensitivity=0.95,
    ).write(folder)
    frame.assign(lesion_id=["L1", "L2", "L1", "L3", "L4"]).to_parquet(folder / "split.parquet")
    return folder, folder


def test_a_predict_stage_is_read_in_the_order_of_ids(tmp_path: Path) -> None:
    these, said = read_replicate(*write_stage(tmp_path), "test")
    assert these.label_N.tolist() == [2, 1, 1]  # a, b, c
    assert these.lesion_N.tolist() == [1, 0, 0]
    assert said.predicted_N.tolist() == [1, 2, 1]
    assert said.called_N.tolist() == [True, False, True]
    assert said.melanoma_N is not None
    assert said.melanoma_N.tolist() == [False, False, True]


def test_a_sealed_part_cannot_be_read(tmp_path: Path) -> None:
    predict, split = write_stage(tmp_path)
    with pytest.raises(DataError, match="no prediction of mine; the run was made with it sealed"):
        read_replicate(predict, split, "mine")


def replicates(count: int, lift: float, shared: bool = True) -> list[Replicate]:
    """Arms hard, real and random over 300 lesions; hard calls more melanomas than real by ``lift``, random as real."""
    found = []
    for number in range(count):
        rng = np.random.default_rng(number)
        label = np.arange(300) % 3
        arms = {}
        for arm, rate in (("real", 0.5), ("random", 0.5), ("hard", 0.5 + lift)):
            called = (label == 1) & (rng.random(300) < rate)
            arms[arm] = [outcome(np.where(called, 1, 2).tolist(), called.astype(int).tolist())]
        these = cases(label.tolist(), digest="same" if shared else str(number))
        found.append(Replicate(cases=these, outcomes=arms))
    return found


def test_differences_are_paired_and_draws_shared() -> None:
    found = differences(replicates(3, 0.3), "hard", "real", shared=True)
    value_R, drawn_RB = found["malignant_sensitivity"]
    assert value_R.shape == (3,)
    assert drawn_RB.shape == (3, 2000)
    assert value_R.mean() == pytest.approx(0.3, abs=0.06)
    same = [replicates(1, 0.3)[0]] * 2
    _, drawn = differences(same, "hard", "real", shared=True)["accuracy"]
    assert np.array_equal(drawn[0], drawn[1])
    _, apart = differences(same, "hard", "real", shared=False)["accuracy"]
    assert not np.array_equal(apart[0], apart[1])


def test_seeds_are_averaged_within_a_replicate() -> None:
    these = cases([1, 1, 2, 2])
    right, wrong = outcome([1, 1, 2, 2], [1, 1, 0, 0]), outcome([2, 2, 2, 2], [0, 0, 0, 0])
    both = Replicate(cases=these, outcomes={"hard": [right, wrong], "real": [wrong, wrong]})
    value_R, _ = differences([both], "hard", "real", shared=False)["malignant_sensitivity"]
    assert value_R.tolist() == [0.5]


def test_replicates_on_different_images_cannot_share_draws() -> None:
    with pytest.raises(DataError, match="scored on different images"):
        differences(replicates(2, 0.3, shared=False), "hard", "real", shared=True)


@pytest.mark.parametrize(
    ("lift", "count", "verdict"),
    [(0.3, 6, "helped"), (-0.3, 6, "hurt"), (0.0, 6, "not shown"), (0.3, 4, "not shown")],
)
def test_the_verdict_follows_the_contrasts(lift: float, count: int, verdict: str) -> None:
    found = analyse(replicates(count, lift), ["real", "random"], one_test_part, shared=True, protocol="safe")
    assert found["verdict"] == verdict, found["why"]
    assert list(found["family"]) == ["random"], "real is not in Holm's family"
    assert found["hard_minus"]["real"]["malignant_sensitivity"]["value"] == pytest.approx(lift, abs=0.06)
    json.dumps(found, allow_nan=False)


def test_folds_use_the_corrected_t_or_the_bootstrap_within_folds() -> None:
    combine = partial(cross_validation, n_train=800.0, n_test=200.0)
    found = analyse(
        replicates(5, 0.3, shared=False), ["real", "random"], combine, shared=False, protocol="safe"
    )
    method = found["hard_minus"]["real"]["malignant_sensitivity"]["method"]
    assert method in ("corrected resampled t", "bootstrap of lesions within folds")
    assert found["verdict"] == "helped", found["why"]
