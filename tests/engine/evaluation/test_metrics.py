"""Figures of weighted resamples: by hand, and against scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from engine.evaluation import metrics

CONFUSION = np.array([[[3.0, 1.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]])


def confusion_of(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    return metrics.confusion_columns(label, predicted, classes).sum(axis=0).reshape(1, classes, classes)


def test_confusion_figures_by_hand() -> None:
    assert metrics.accuracy(CONFUSION)[0] == pytest.approx(7 / 10)
    np.testing.assert_allclose(metrics.sensitivity(CONFUSION)[0], [3 / 4, 4 / 6, np.nan])
    np.testing.assert_allclose(metrics.specificity(CONFUSION)[0], [4 / 6, 3 / 4, 1.0])
    assert metrics.mean_defined(metrics.sensitivity(CONFUSION))[0] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert metrics.macro_f1(CONFUSION)[0] == pytest.approx((6 / 9 + 8 / 11) / 2)


def test_a_class_never_present_but_predicted_does_not_enter_macro_f1() -> None:
    confusion = np.array([[[2.0, 2.0], [0.0, 0.0]]])
    assert metrics.macro_f1(confusion)[0] == pytest.approx(4 / 6)


def test_empty_confusion_is_undefined_everywhere() -> None:
    empty = np.zeros((1, 2, 2))
    for figure in (metrics.accuracy, metrics.sensitivity, metrics.specificity, metrics.macro_f1):
        assert np.isnan(figure(empty)).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_confusion_figures_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label, predicted = rng.integers(0, 4, 90), rng.integers(0, 4, 90)
    confusion = confusion_of(label, predicted, 4)
    np.testing.assert_array_equal(confusion[0], sk.confusion_matrix(label, predicted))
    assert metrics.accuracy(confusion)[0] == pytest.approx(sk.accuracy_score(label, predicted))
    balanced = metrics.mean_defined(metrics.sensitivity(confusion))[0]
    assert balanced == pytest.approx(sk.balanced_accuracy_score(label, predicted))
    assert metrics.macro_f1(confusion)[0] == pytest.approx(sk.f1_score(label, predicted, average="macro"))
    for c in range(4):
        expected = sk.recall_score(label != c, predicted != c)
        assert metrics.specificity(confusion)[0, c] == pytest.approx(expected)


def test_group_sums_add_a_lesions_images() -> None:
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums = metrics.group_sums(values, np.array([1, 0, 1]), 3)
    np.testing.assert_array_equal(sums, [[2, 20], [5, 50], [0, 0]])


def test_area_under_roc_by_hand_with_a_tie() -> None:
    # positives 0.9 and 0.5, negatives 0.5 and 0.1: pairs 1, 1, 0.5, 1.
    score, positive = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert metrics.area_under_roc(np.ones((1, 4)), score, positive)[0] == pytest.approx(3.5 / 4)
    # the tied negative counts three times: (1*4 + 3*0.5 + 1) / 8
    assert metrics.area_under_roc(np.array([[1.0, 1, 3, 1]]), score, positive)[0] == pytest.approx(6.5 / 8)


def test_area_under_roc_without_positives_or_negatives_is_undefined() -> None:
    score = np.array([0.2, 0.8])
    for positive in ([True, True], [False, False]):
        assert np.isnan(metrics.area_under_roc(np.ones((1, 2)), score, np.array(positive))[0])
    assert np.isnan(metrics.area_under_roc(np.array([[0.0, 1.0]]), score, np.array([True, False]))[0])
    assert np.isnan(metrics.area_under_roc(np.ones((1, 0)), score[:0], np.zeros(0, dtype=bool))[0])


def test_weighted_area_agrees_with_scikit_learn_draw_by_draw() -> None:
    rng = np.random.default_rng(3)
    score = np.round(rng.random(60), 1)
    positive = rng.random(60) < 0.3
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    ours = metrics.area_under_roc(weights, score, positive)
    theirs = [sk.roc_auc_score(positive, score, sample_weight=row) for row in weights]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_sensitivity_at_specificity_by_hand() -> None:
    # ten negatives at 0.00 ... 0.09 and 0.5; at 90 % one may be called positive.
    score = np.array([0.5, *np.arange(9) / 100, 0.6, 0.4, 0.04, 0.01])
    positive = np.array([False] * 10 + [True] * 4)
    weights = np.ones((1, 14))
    assert metrics.sensitivity_at_specificity(weights, score, positive, 0.9)[0] == pytest.approx(2 / 4)
    assert metrics.sensitivity_at_specificity(weights, score, positive, 1.0)[0] == pytest.approx(1 / 4)
    assert metrics.sensitivity_at_specificity(weights, score, positive, 0.0)[0] == pytest.approx(1.0)


def test_sensitivity_at_specificity_moves_ties_together() -> None:
    score, positive = np.array([0.5, 0.5, 0.1]), np.array([True, False, False])
    assert metrics.sensitivity_at_specificity(np.ones((1, 3)), score, positive, 0.9)[0] == 0.0
    assert metrics.sensitivity_at_specificity(np.ones((1, 3)), score, positive, 0.5)[0] == 1.0


def test_sensitivity_at_specificity_undefined() -> None:
    score = np.array([0.2, 0.8])
    for positive in ([True, True], [False, False]):
        assert np.isnan(
            metrics.sensitivity_at_specificity(np.ones((1, 2)), score, np.array(positive), 0.9)[0]
        )
    assert np.isnan(
        metrics.sensitivity_at_specificity(np.ones((1, 0)), score[:0], np.zeros(0, dtype=bool), 0.9)[0]
    )


@pytest.mark.parametrize("floor", [0.5, 0.8, 0.9, 0.95])
def test_sensitivity_at_specificity_agrees_with_scikit_learns_roc(floor: float) -> None:
    rng = np.random.default_rng(4)
    score, positive = np.round(rng.random(200), 2), rng.random(200) < 0.4
    weights = rng.integers(0, 3, (4, 200)).astype(float)
    ours = metrics.sensitivity_at_specificity(weights, score, positive, floor)
    for value, row in zip(ours, weights, strict=True):
        fpr, tpr, _ = sk.roc_curve(positive, score, sample_weight=row, drop_intermediate=False)
        assert value == pytest.approx(tpr[fpr <= 1 - floor + 1e-12].max())


def test_calibration_error_by_hand() -> None:
    # confidences 0.9 (right), 0.9 (wrong), 0.6 (right): bins (13/15, 14/15] and (8/15, 9/15].
    prob = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    columns = metrics.calibration_columns(prob, np.array([0, 1, 1]))
    error = metrics.expected_calibration_error(columns.sum(axis=0)[None], np.array([3.0]))[0]
    assert error == pytest.approx((abs(0.1 - 0.9) + 0.4) / 3)


def test_calibration_error_agrees_with_torchmetrics() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    rng = np.random.default_rng(5)
    prob, label = rng.dirichlet(np.ones(5), 400), rng.integers(0, 5, 400)
    ours = metrics.expected_calibration_error(
        metrics.calibration_columns(prob, label).sum(axis=0)[None], np.array([400.0])
    )[0]
    theirs = multiclass_calibration_error(torch.tensor(prob), torch.tensor(label), num_classes=5, n_bins=15)
    assert ours == pytest.approx(float(theirs), abs=1e-6)


def test_proper_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(6)
    prob, label = rng.dirichlet(np.ones(3), 50), rng.integers(0, 3, 50)
    nll, brier = metrics.proper_score_columns(prob, label).mean(axis=0)
    assert nll == pytest.approx(sk.log_loss(label, prob, labels=[0, 1, 2]))
    assert brier == pytest.approx(((prob - np.eye(3)[label]) ** 2).sum(axis=1).mean())


def test_a_probability_of_zero_gives_a_finite_likelihood() -> None:
    nll = metrics.proper_score_columns(np.array([[1.0, 0.0]]), np.array([1]))[0, 0]
    assert nll == pytest.approx(-np.log(1e-12))


def test_mean_defined_of_nothing_is_nan() -> None:
    np.testing.assert_allclose(
        metrics.mean_defined(np.array([[1.0, np.nan], [np.nan, np.nan]])), [1.0, np.nan]
    )


def test_mean_sensitivity_by_hand() -> None:
    """Ten benign, two malignant: the ROC rises to 1/2 at once, to 1 after three of ten benign images.

    From the false-positive rate 0.02 to 0.2 it lies flat at 1/2. With the second malignant image tied with the second benign
    one, the ROC runs straight from (0.1, 1/2) to (0.2, 1): the mean is (0.08 x 1/2 + 0.1 x 3/4) / 0.18.
    """
    benign = np.arange(10) / 20
    apart = np.append(benign, [0.9, 0.325])
    positive = np.append(np.zeros(10, bool), [True, True])
    once = np.ones((1, 12))
    assert metrics.mean_sensitivity(once, apart, positive)[0] == pytest.approx(0.5)
    tied = np.append(benign, [0.9, 0.40])
    assert metrics.mean_sensitivity(once, tied, positive)[0] == pytest.approx(
        (0.08 * 0.5 + 0.1 * 0.75) / 0.18
    )
    assert metrics.mean_sensitivity(once, np.zeros(12), positive)[0] == pytest.approx(0.11), "chance"
    assert metrics.mean_sensitivity(once, np.where(positive, 1.0, 0.0), positive)[0] == pytest.approx(1.0)


def partial_area(truth: np.ndarray, score: np.ndarray, most: float) -> float:
    """Area under scikit-learn's ROC up to a false-positive rate, McClish's standardisation undone."""
    standardised = sk.roc_auc_score(truth, score, max_fpr=most)
    return float((2 * standardised - 1) * (most - most**2 / 2) + most**2 / 2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mean_sensitivity_is_the_partial_area_by_its_width(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(150) < 0.3
    score = np.round(rng.normal(truth * 1.0), 1)
    expected = (partial_area(truth, score, 0.20) - partial_area(truth, score, 0.02)) / 0.18
    found = metrics.mean_sensitivity(np.ones((1, 150)), score, truth)[0]
    assert found == pytest.approx(expected, rel=1e-9)
    order = rng.permutation(150)
    assert metrics.mean_sensitivity(np.ones((1, 150)), score[order], truth[order])[0] == found


def test_a_weight_is_a_repeat_for_mean_sensitivity() -> None:
    rng = np.random.default_rng(4)
    truth, score = rng.random(40) < 0.4, rng.random(40)
    weights = rng.integers(0, 4, (5, 40)).astype(float)
    found = metrics.mean_sensitivity(weights, score, truth)
    for b, weight in enumerate(weights):
        rows = np.repeat(np.arange(40), weight.astype(int))
        again = metrics.mean_sensitivity(np.ones((1, len(rows))), score[rows], truth[rows])[0]
        assert found[b] == pytest.approx(again, rel=1e-12)


def test_mean_sensitivity_needs_both_kinds_of_image() -> None:
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = metrics.mean_sensitivity(weights, np.array([0.9, 0.1]), np.array([True, False]))
    assert np.isnan(found[:2]).all() and found[2] == 1.0
    assert np.isnan(metrics.mean_sensitivity(np.ones((1, 0)), np.zeros(0), np.zeros(0, bool))).all()
