"""The metric object of one split: agreement with references, null cases, clustering."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from sklearn import metrics as sk

from engine.evaluation.scoring import (
    ScoredSplit,
    bootstrap_figures,
    malignant_score,
    null_split,
    score_split,
)

CLASSES = ("akiec", "bcc", "mel", "nv")


def make_split(n: int = 300, seed: int = 0, **changes: object) -> ScoredSplit:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(CLASSES), n)
    prob = rng.dirichlet(np.ones(len(CLASSES)), n)
    prob[np.arange(n), label] += 0.3
    fields: dict[str, object] = {
        "prob_NC": prob / prob.sum(axis=1, keepdims=True),
        "label_N": label,
        "lesion_id": np.array([f"L{i // 2}" for i in range(n)], dtype=np.str_),
        "classes": CLASSES,
        "malignant": ("akiec", "bcc", "mel"),
        "threshold": 0.8,
    }
    fields |= changes
    return ScoredSplit(**{"group_N": fields["lesion_id"], **fields})  # type: ignore[arg-type]


def score(split: ScoredSplit, draws: int = 200, seed: int = 0) -> dict:
    return score_split(split, draws=draws, rng=np.random.default_rng(seed))


def figures(node: object) -> list[dict]:
    if isinstance(node, dict) and set(node) == {"value", "low", "high"}:
        return [node]
    return [f for child in node.values() for f in figures(child)] if isinstance(node, dict) else []


def test_values_agree_with_scikit_learn() -> None:
    split = make_split()
    result, predicted = score(split), split.prob_NC.argmax(axis=1)
    assert result["accuracy"]["value"] == pytest.approx(sk.accuracy_score(split.label_N, predicted))
    balanced = sk.balanced_accuracy_score(split.label_N, predicted)
    assert result["balanced_accuracy"]["value"] == pytest.approx(balanced)
    assert result["macro_f1"]["value"] == pytest.approx(
        sk.f1_score(split.label_N, predicted, average="macro")
    )
    auc = sk.roc_auc_score(split.label_N, split.prob_NC, multi_class="ovr", average="macro")
    assert result["auc"]["value"] == pytest.approx(auc)
    assert result["log_loss"]["value"] == pytest.approx(sk.log_loss(split.label_N, split.prob_NC))
    assert result["nll"] == result["log_loss"], "its older name"
    for c, dx in enumerate(CLASSES):
        entry = result["per_class"][dx]
        assert entry["sensitivity"]["value"] == pytest.approx(
            sk.recall_score(split.label_N == c, predicted == c)
        )
        assert entry["specificity"]["value"] == pytest.approx(
            sk.recall_score(split.label_N != c, predicted != c)
        )
        assert entry["auc"]["value"] == pytest.approx(
            sk.roc_auc_score(split.label_N == c, split.prob_NC[:, c])
        )
        assert entry["n"] == int((split.label_N == c).sum()) and type(entry["n"]) is int
    assert result["confusion"]["counts"] == sk.confusion_matrix(split.label_N, predicted).tolist()


def test_malignant_figures_use_the_threshold_they_are_given() -> None:
    split = make_split()
    truth, called = split.label_N < 3, split.prob_NC[:, :3].sum(axis=1) >= 0.8
    entry = score(split)["malignant"]
    assert entry["sensitivity"]["value"] == pytest.approx((truth & called).sum() / truth.sum())
    assert entry["specificity"]["value"] == pytest.approx((~truth & ~called).sum() / (~truth).sum())
    assert entry["auc"]["value"] == pytest.approx(sk.roc_auc_score(truth, split.prob_NC[:, :3].sum(axis=1)))
    fpr, tpr, _ = sk.roc_curve(truth, split.prob_NC[:, :3].sum(axis=1), drop_intermediate=False)
    expected = tpr[fpr <= 0.1 + 1e-12].max()
    assert entry["sensitivity_at_specificity_90"]["value"] == pytest.approx(expected)
    assert (entry["n"], entry["n_benign"]) == (int(truth.sum()), int((~truth).sum()))
    assert entry["threshold"] == 0.8


def test_a_score_at_the_threshold_is_called_malignant() -> None:
    prob = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.25, 0.75]])
    split = make_split(2, prob_NC=prob, label_N=np.array([2, 3]), threshold=0.5)
    assert score(split)["malignant"]["sensitivity"]["value"] == 1.0
    np.testing.assert_allclose(malignant_score(prob, [0, 1, 2]), [0.5, 0.25])


def test_every_value_lies_in_its_interval_and_json_has_no_nan() -> None:
    for n in (1, 2, 5, 40):
        result = score(make_split(n, seed=n))
        assert len(figures(result)) == 8 + 3 * len(CLASSES) + 5 + 2
        for figure in figures(result):
            if figure["value"] is None:
                assert figure["low"] is None and figure["high"] is None
            else:
                assert figure["low"] <= figure["value"] <= figure["high"]
        json.dumps(result, allow_nan=False)


def test_absent_class_is_null_where_undefined() -> None:
    split = make_split(label_N=np.array([0, 1, 3] * 100))
    result = score(split)
    assert result["per_class"]["mel"]["sensitivity"]["value"] is None
    assert result["per_class"]["mel"]["auc"]["value"] is None
    assert result["per_class"]["mel"]["specificity"]["value"] is not None
    assert (result["per_class"]["mel"]["n"], result["per_class"]["mel"]["n_lesions"]) == (0, 0)
    present = [result["per_class"][dx]["sensitivity"]["value"] for dx in ("akiec", "bcc", "nv")]
    assert result["balanced_accuracy"]["value"] == pytest.approx(np.mean(present))


@pytest.mark.parametrize("malignant", [(), ("scc",), CLASSES])
def test_without_malignant_classes_malignant_figures_are_null(malignant: tuple[str, ...]) -> None:
    entry = score(make_split(malignant=malignant))["malignant"]
    assert all(entry[name]["value"] is None for name in ("sensitivity", "specificity", "auc"))
    assert entry["sensitivity_at_specificity_90"]["value"] is None
    assert (entry["n"], entry["n_benign"], entry["threshold"]) == (0, 0, None)


def test_without_a_threshold_only_the_operating_point_is_null() -> None:
    entry = score(make_split(threshold=None))["malignant"]
    assert entry["sensitivity"]["value"] is None and entry["specificity"]["value"] is None
    assert entry["auc"]["value"] is not None and entry["sensitivity_at_specificity_90"]["value"] is not None


def test_null_split_has_the_shape_of_a_full_one() -> None:
    empty, full = null_split(CLASSES), score(make_split())
    assert all(figure["value"] is None for figure in figures(empty))
    assert set(empty) == set(full) and set(empty["malignant"]) == set(full["malignant"])
    assert empty["n"] == 0 and empty["per_class"]["mel"]["n"] == 0
    assert empty["confusion"]["counts"] == [[0] * 4] * 4


def width(result: dict, name: str) -> float:
    return result[name]["high"] - result[name]["low"]


def test_copies_of_a_lesions_images_do_not_narrow_the_interval() -> None:
    """Each image four times inside its lesion: same lesions, same intervals. As own lesions: half the width."""
    single = make_split(200)
    copies = {"prob_NC": np.repeat(single.prob_NC, 4, axis=0), "label_N": np.repeat(single.label_N, 4)}
    inside = make_split(200, **copies, lesion_id=np.repeat(single.lesion_id, 4))
    apart = make_split(200, **copies, lesion_id=np.arange(800).astype(np.str_))
    base, same, narrow = (score(s, draws=1500) for s in (single, inside, apart))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "auc", "log_loss"):
        assert width(same, name) == pytest.approx(width(base, name), rel=1e-9)
        assert width(narrow, name) < 0.65 * width(base, name)


def test_draws_agree_with_an_explicit_resample() -> None:
    """The weighted figures equal scikit-learn's on the resample written out image by image."""
    from engine.evaluation.scoring import _figures
    from engine.evaluation.statistics import group_weights

    split = make_split(60)
    _, lesion = np.unique(split.lesion_id, return_inverse=True)
    weights = group_weights(30, 3, np.random.default_rng(9))
    result = _figures(split, lesion, weights)
    for b in range(3):
        rows = np.repeat(np.arange(60), weights[b][lesion].astype(int))
        label, prob = split.label_N[rows], split.prob_NC[rows]
        assert result["accuracy"][b] == pytest.approx(sk.accuracy_score(label, prob.argmax(axis=1)))
        assert result["balanced_accuracy"][b] == pytest.approx(
            sk.balanced_accuracy_score(label, prob.argmax(axis=1))
        )
        assert result["auc"][b] == pytest.approx(sk.roc_auc_score(label, prob, multi_class="ovr"))
        assert result["log_loss"][b] == pytest.approx(sk.log_loss(label, prob))


def test_draws_of_other_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="29 groups are weighted, the split has 30"):
        bootstrap_figures(make_split(60), np.ones((2, 29)))


def test_same_seed_same_object_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    first = score(make_split(), seed=3)
    monkeypatch.setattr("engine.evaluation.scoring._BLOCK_ELEMENTS", 7 * 300)
    again = score(make_split(), seed=3)
    for a, b in zip(figures(first), figures(again), strict=True):
        assert a == pytest.approx(b, nan_ok=True)
    assert score(make_split(), seed=4) != first


def test_two_thousand_images_take_seconds() -> None:
    started, computed = time.perf_counter(), time.process_time()
    score(make_split(2000), draws=1000)
    assert time.process_time() - computed < 10, "without the wait for a core"
    assert time.perf_counter() - started < 60


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        score(make_split(4, lesion_id=np.array(["a"])))


def test_what_a_bootstrap_draws_are_groups_where_there_are_any() -> None:
    """Ten lesions of a patient who are right or wrong together count once, as ten photographs of one lesion do."""
    n = 400
    label = np.arange(n) % len(CLASSES)
    patient = np.arange(n) // 40
    taken = np.where(patient % 2 == 0, label, (label + 1) % len(CLASSES))
    fields = {"prob_NC": 0.1 + 0.6 * np.eye(len(CLASSES))[taken], "label_N": label}
    group = np.array([f"P{p}" for p in patient], dtype=np.str_)
    lesions = score(make_split(n, **fields))["accuracy"]
    patients = score(make_split(n, **fields, group_N=group))["accuracy"]
    as_lesions = score(make_split(n, **fields, lesion_id=group))["accuracy"]
    assert patients == as_lesions
    assert patients["value"] == lesions["value"] == 0.5
    assert patients["high"] - patients["low"] > 3 * (lesions["high"] - lesions["low"])
    assert score(make_split(n, **fields, group_N=group))["n_lesions"] == n // 2, (
        "lesions are counted all the same"
    )


def test_a_group_for_each_image_or_none() -> None:
    with pytest.raises(ValueError, match="group_N differ in length"):
        score(make_split(group_N=np.array(["P"], dtype=np.str_)))


def test_a_certain_error_has_a_log_loss_too() -> None:
    prob = np.tile([1.0, 0.0, 0.0, 0.0], (4, 1))
    result = score(make_split(4, prob_NC=prob, label_N=np.array([0, 1, 0, 1])))
    assert result["log_loss"]["value"] == pytest.approx(-np.log(1e-12) / 2)


def test_the_mean_sensitivity_has_an_interval_where_the_data_names_malignant_classes() -> None:
    found = score(make_split())["malignant"]["mean_sensitivity"]
    assert found["low"] < found["value"] < found["high"]
    assert score(make_split(malignant=()))["malignant"]["mean_sensitivity"]["value"] is None
