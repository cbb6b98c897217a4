"""Temperature and operating point against values worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from engine.artifacts.calibration import Calibration
from engine.classifier.calibration import (
    calibrate,
    fit_temperature,
    malignant_score,
    negative_log_likelihood,
    operating_point,
    sensitivity_point,
)
from engine.classifier.predict import softmax
from engine.errors import DataError


def two_class(gap, right, wrong):
    """``right`` + ``wrong`` images whose winning logit leads by ``gap``; the optimum is known in closed form."""
    logits = np.tile([gap, 0.0], (right + wrong, 1))
    label = np.array([0] * right + [1] * wrong)
    return logits, label


@pytest.mark.parametrize("gap", [0.5, 2.0, 6.0])
def test_temperature_makes_confidence_the_accuracy(gap):
    temperature = fit_temperature(*two_class(gap, 30, 10))
    assert temperature == pytest.approx(gap / math.log(3), rel=1e-4), "sigmoid(gap / T) = 3/4"


def test_temperature_is_clipped():
    assert fit_temperature(*two_class(1.0, 5, 10)) == pytest.approx(20.0, rel=1e-4)
    assert fit_temperature(*two_class(0.01, 30, 1)) == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize(
    ("logits", "label"),
    [
        (np.zeros((0, 2)), np.zeros(0, int)),
        (np.zeros((9, 2)), np.arange(9) % 2),
        (np.random.default_rng(0).normal(size=(20, 2)), np.zeros(20, int)),
        (np.eye(2)[np.arange(20) % 2], np.arange(20) % 2),
    ],
    ids=["empty", "tiny", "one class", "all right"],
)
def test_temperature_stays_one_where_it_means_nothing(logits, label):
    assert fit_temperature(logits, label) == 1.0


def test_negative_log_likelihood_by_hand():
    logits = np.array([[math.log(3), 0.0], [1000.0, 1000.0]])
    assert negative_log_likelihood(logits, np.array([0, 1]), 1.0) == pytest.approx(
        (math.log(4 / 3) + math.log(2)) / 2
    )


def test_operating_point_is_the_middle_of_the_lowest_gap():
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.9, 0.35, 0.6])
    malignant = np.array([False] * 5 + [True] * 2)
    assert operating_point(score, malignant, 0.6) == pytest.approx(0.325), (
        "3 of 5 benign below; next score 0.35"
    )
    assert operating_point(score, malignant, 0.8) == pytest.approx(0.5)
    assert operating_point(score, malignant, 0.99) == pytest.approx(0.95), (
        "between the highest benign score and 1"
    )


def test_operating_point_with_ties_and_extremes():
    benign, both = np.array([0.5, 0.5, 0.5, 0.5]), np.array([False, False, False, True])
    assert operating_point(benign, both, 0.3) == pytest.approx(0.75)
    certain = operating_point(np.array([1.0, 1.0]), np.array([False, True]), 0.9)
    assert certain > 1.0
    assert operating_point(np.array([0.2, 0.8]), np.array([False, True]), 0.0) == pytest.approx(0.1)


@pytest.mark.parametrize("malignant", [[True, True], [False, False]])
def test_no_operating_point_without_both_kinds(malignant):
    assert operating_point(np.array([0.1, 0.2]), np.array(malignant), 0.9) is None


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95])
def test_operating_point_reaches_the_target_and_no_lower_gap_does(target):
    rng = np.random.default_rng(1)
    score, malignant = rng.random(200), rng.random(200) < 0.3
    threshold = operating_point(score, malignant, target)
    assert np.mean(score[~malignant] < threshold) >= target
    lower = score[score < threshold].max()
    assert np.mean(score[~malignant] < lower) < target


def test_calibrate_and_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    logits = np.eye(3)[label] * 2 + rng.normal(size=(60, 3))
    found = calibrate(logits, label, ("bcc", "mel", "nv"), ["nope", "mel", "bcc"], 0.8)
    assert found.malignant == ("bcc", "mel")
    score = malignant_score(softmax(logits, found.temperature), [0, 1])
    assert np.mean(score[label == 2] < found.threshold) == 0.8
    found.write(tmp_path)
    assert Calibration.read(tmp_path) == found
    assert json.loads((tmp_path / "calibration.json").read_text())["specificity"] == 0.8


def test_melanoma_gets_the_highest_threshold_that_finds_enough(tmp_path):
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.9, 0.35, 0.6, 0.7])
    positive = np.array([False] * 5 + [True] * 3)
    assert sensitivity_point(score, positive, 0.6) == pytest.approx(0.5), (
        "2 of 3 at 0.6 and above; next score 0.4"
    )
    assert sensitivity_point(score, positive, 0.95) == pytest.approx(0.325)
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    logits = np.eye(3)[label] * 2 + rng.normal(size=(60, 3))
    found = calibrate(
        logits, label, ("bcc", "mel", "nv"), ["mel"], 0.8, melanoma="mel", melanoma_sensitivity=0.9
    )
    prob = softmax(logits, found.temperature)[:, 1]
    assert np.mean(prob[label == 1] >= found.melanoma_threshold) == 0.9
    found.write(tmp_path)
    assert Calibration.read(tmp_path) == found
    absent = calibrate(logits, label, ("bcc", "scc", "nv"), ["bcc"], 0.8, melanoma="mel")
    assert (absent.melanoma, absent.melanoma_threshold, absent.melanoma_sensitivity) == (None, None, None)


def test_a_calibration_written_before_melanoma_had_a_point_is_read(tmp_path):
    old = {
        "temperature": 1.0,
        "malignant": ["mel"],
        "threshold": 0.5,
        "specificity": 0.9,
        "classes": ["mel", "nv"],
    }
    (tmp_path / "calibration.json").write_text(json.dumps(old))
    assert Calibration.read(tmp_path).melanoma_threshold is None


def test_no_malignant_class_or_no_val_gives_no_threshold(tmp_path):
    logits, label = two_class(1.0, 10, 10)
    found = calibrate(logits, label, ("a", "b"), ["mel"], 0.9)
    assert (found.threshold, found.malignant) == (None, ())
    empty = calibrate(np.zeros((0, 2)), np.zeros(0, int), ("mel", "nv"), ["mel"], 0.9)
    assert (empty.threshold, empty.temperature, empty.malignant) == (None, 1.0, ("mel",))
    empty.write(tmp_path)
    assert Calibration.read(tmp_path).threshold is None


@pytest.mark.parametrize("text", [None, "{", '{"temperature": 1}'])
def test_broken_file(tmp_path, text):
    if text is not None:
        (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(DataError, match=r"calibration\.json: (is missing|is no valid JSON|lacks malignant)"):
        Calibration.read(tmp_path)
