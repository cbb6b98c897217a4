"""The metric object of one split (``val`` or ``test`` of report.json): every figure with its interval.

Shape legend: B bootstrap draws, N images, G groups (of lesions), C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.evaluation import metrics
from engine.evaluation.metrics import Floats
from engine.evaluation.statistics import Interval, group_weights, interval
from engine.types import FloatArray, IntArray, StrArray

_BLOCK_ELEMENTS = 2_000_000
_OTHERS = ("auc", "ece", "log_loss", "nll", "brier")
_PER_CLASS = ("sensitivity", "specificity", "auc")
_MALIGNANT = ("sensitivity", "specificity", "sensitivity_at_specificity_90", "mean_sensitivity", "auc")
_MELANOMA = ("sensitivity", "specificity")


@dataclass(frozen=True, kw_only=True)
class ScoredSplit:
    """The predictions of one split.

    ``malignant`` names the malignant classes and ``threshold`` is the score (sum of their probabilities) from which
    a lesion is called malignant, as fixed on val; either may be missing, then malignant figures are null. ``melanoma``
    is the class with a threshold of its own, likewise. ``group_N`` names what a bootstrap draws as one: a lesion,
    or what it belongs to (the lesions of a patient, near-duplicates).
    """

    prob_NC: FloatArray
    label_N: IntArray
    lesion_id: StrArray
    group_N: StrArray
    classes: tuple[str, ...]
    malignant: tuple[str, ...] = ()
    threshold: float | None = None
    specificity: float = 0.90
    melanoma: str | None = None
    melanoma_threshold: float | None = None

    @property
    def malignant_columns(self) -> list[int]:
        """Columns of the malignant classes; empty where none, or all, of the classes are malignant."""
        columns = [position for position, name in enumerate(self.classes) if name in self.malignant]
        return columns if len(columns) < len(self.classes) else []

    @property
    def melanoma_columns(self) -> list[int]:
        """Column of the melanoma class; empty where there is none."""
        return [position for position, name in enumerate(self.classes) if name == self.melanoma]


def score_split(split: ScoredSplit, *, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the metric object: figures as {value, low, high}, counts as integers, ``confusion`` as {classes, counts}.

    Undefined figures (a class without images, an empty split, no threshold) are null. Averages over classes run over
    the classes that have images; in a draw, over those the draw holds. ``n`` counts images, ``n_lesions`` lesions.

    Raises:
        ValueError: arrays differ in length.
    """
    return score_seeds([split], draws=draws, rng=rng)[0]


def score_seeds(
    splits: Sequence[ScoredSplit], *, draws: int, rng: np.random.Generator
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Return the metric object of several classifiers on the same images, and each one's figures by dotted name.

    A figure is the mean over the classifiers, on the whole split and in every draw (a classifier without it is left out), so
    an interval is that of an average classifier on other lesions. Counts, thresholds and ``confusion`` are the first one's.

    Raises:
        ValueError: arrays differ in length.
    """
    groups = np.unique(splits[0].group_N)
    weights_BG = group_weights(len(groups), draws, rng)  # the same lesions are drawn for each
    found = [bootstrap_figures(split, weights_BG) for split in splits]
    figures = {
        name: interval(
            float(metrics.mean_defined(np.array([[point[name] for point, _ in found]]))[0]),
            metrics.mean_defined(np.column_stack([drawn[name] for _, drawn in found])),
        )
        for name in found[0][0]
    }
    return _arrange(splits[0], figures), [point for point, _ in found]


def bootstrap_figures(split: ScoredSplit, weights_BG: Floats) -> tuple[dict[str, float], dict[str, Floats]]:
    """Return every figure under its dotted name, and its values (B,) in bootstrap draws of lesions.

    Args:
        split: the predictions and the truth.
        weights_BG: how often each group of lesions is drawn, groups in the order of their names. Given the same, two
            classifiers on the same images are drawn alike: the difference of their draws is that of a paired bootstrap.

    Raises:
        ValueError: arrays differ in length, or ``weights_BG`` is of another number of groups.
    """
    if not len(split.prob_NC) == len(split.label_N) == len(split.lesion_id) == len(split.group_N):
        raise ValueError("prob_NC, label_N, lesion_id and group_N differ in length")
    groups, group_N = np.unique(split.group_N, return_inverse=True)
    if weights_BG.shape[1] != len(groups):
        raise ValueError(f"{weights_BG.shape[1]} groups are weighted, the split has {len(groups)}")
    group_N = group_N.astype(np.int64)
    point = _figures(split, group_N, np.ones((1, len(groups))))
    block = max(1, _BLOCK_ELEMENTS // max(1, len(group_N)))
    parts = [_figures(split, group_N, weights_BG[i : i + block]) for i in range(0, len(weights_BG), block)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in point}
    return {name: float(value[0]) for name, value in point.items()}, drawn


def null_split(classes: Sequence[str]) -> dict[str, Any]:
    """Return the metric object of a split without images: every figure null, every count 0."""
    empty = ScoredSplit(
        prob_NC=np.zeros((0, len(classes))),
        label_N=np.zeros(0, dtype=np.int64),
        lesion_id=np.zeros(0, dtype=np.str_),
        group_N=np.zeros(0, dtype=np.str_),
        classes=tuple(classes),
    )
    return score_split(empty, draws=1, rng=np.random.default_rng(0))


def _figures(split: ScoredSplit, group_N: IntArray, weights_BG: Floats) -> dict[str, Floats]:
    """Every figure of every weighting under its dotted name, each (B,)."""
    weights_BN = weights_BG[:, group_N]
    figures = _summed_figures(split, group_N, weights_BG)
    auc_CB = [
        metrics.area_under_roc(weights_BN, split.prob_NC[:, c], split.label_N == c)
        for c in range(len(split.classes))
    ]
    figures["auc"] = metrics.mean_defined(np.column_stack(auc_CB))
    for name, auc_B in zip(split.classes, auc_CB, strict=True):
        figures[f"per_class.{name}.auc"] = auc_B
    columns = split.malignant_columns
    missing = np.full(len(weights_BG), np.nan)
    figures["malignant.auc"] = figures["malignant.sensitivity_at_specificity_90"] = missing
    figures["malignant.mean_sensitivity"] = missing
    if columns:
        score_N = malignant_score(split.prob_NC, columns)
        truth_N = np.isin(split.label_N, columns)
        figures["malignant.auc"] = metrics.area_under_roc(weights_BN, score_N, truth_N)
        figures["malignant.sensitivity_at_specificity_90"] = metrics.sensitivity_at_specificity(
            weights_BN, score_N, truth_N, split.specificity
        )
        figures["malignant.mean_sensitivity"] = metrics.mean_sensitivity(weights_BN, score_N, truth_N)
    return figures


def malignant_score(prob_NC: FloatArray, columns: Sequence[int]) -> Floats:
    """Sum of the malignant classes' probabilities, (N,); called malignant from the threshold upwards."""
    score_N: Floats = np.sum(np.asarray(prob_NC, dtype=np.float64)[:, list(columns)], axis=1)
    return score_N


def _summed_figures(split: ScoredSplit, group_N: IntArray, weights_BG: Floats) -> dict[str, Floats]:
    """The figures that are ratios of sums over images."""
    n_classes = len(split.classes)
    predicted_N = split.prob_NC.argmax(axis=1) if len(split.prob_NC) else split.label_N
    pieces = [
        metrics.confusion_columns(split.label_N, predicted_N, n_classes),
        metrics.calibration_columns(split.prob_NC, split.label_N),
        metrics.proper_score_columns(split.prob_NC, split.label_N),
        operating_point_columns(split.prob_NC, split.label_N, split.malignant_columns, split.threshold),
        operating_point_columns(
            split.prob_NC, split.label_N, split.melanoma_columns, split.melanoma_threshold
        ),
    ]
    per_group = metrics.group_sums(np.hstack(pieces), group_N, weights_BG.shape[1])
    sums_BK = np.einsum(
        "bg,gk->bk", weights_BG, per_group, optimize=False
    )  # no BLAS: the same bits on any threads
    edges = np.cumsum([piece.shape[1] for piece in pieces])[:-1]
    confusion, calibration, proper, malignant, melanoma = np.split(sums_BK, edges, axis=1)
    confusion_BCC = confusion.reshape(-1, n_classes, n_classes)
    total_B = confusion.sum(axis=1)
    log_loss_B = metrics.divide(proper[:, 0], total_B)
    recall_BC, specificity_BC = metrics.sensitivity(confusion_BCC), metrics.specificity(confusion_BCC)
    figures = {
        **{name: figure(confusion_BCC) for name, figure in metrics.FROM_CONFUSION.items()},
        "ece": metrics.expected_calibration_error(calibration, total_B),
        "log_loss": log_loss_B,
        "nll": log_loss_B,  # its older name, which sweeps and trackers ask for
        "brier": metrics.divide(proper[:, 1], total_B),
    }
    for name, binary in (("malignant", malignant), ("melanoma", melanoma)):
        figures[f"{name}.sensitivity"] = metrics.divide(binary[:, 0], binary[:, 1])
        figures[f"{name}.specificity"] = metrics.divide(binary[:, 2], binary[:, 3])
    for c, name in enumerate(split.classes):
        figures[f"per_class.{name}.sensitivity"] = recall_BC[:, c]
        figures[f"per_class.{name}.specificity"] = specificity_BC[:, c]
    return figures


def operating_point_columns(
    prob_NC: FloatArray, label_N: IntArray, columns: Sequence[int], threshold: float | None
) -> Floats:
    """(N, 4): true positive, positive, true negative, negative at the threshold; zeros where there is none."""
    if not columns or threshold is None:
        return np.zeros((len(label_N), 4))
    truth = np.isin(label_N, columns)
    called = malignant_score(prob_NC, columns) >= threshold
    return np.column_stack([truth & called, truth, ~truth & ~called, ~truth]).astype(np.float64)


def _arrange(split: ScoredSplit, figures: dict[str, Interval]) -> dict[str, Any]:
    """Nest the dotted figures and add the counts."""

    def count(rows: Any) -> dict[str, int]:
        return {"n": int(rows.sum()), "n_lesions": len(np.unique(split.lesion_id[rows]))}

    everything = np.ones(len(split.label_N), dtype=bool)
    malignant = np.isin(split.label_N, split.malignant_columns)
    n_benign = int((~malignant).sum()) if split.malignant_columns else 0
    n_classes = len(split.classes)
    pairs = split.label_N * n_classes + (
        split.prob_NC.argmax(axis=1) if len(split.prob_NC) else split.label_N
    )
    counts_CC = np.bincount(pairs, minlength=n_classes * n_classes).reshape(n_classes, n_classes)
    return {
        **count(everything),
        **{name: figures[name] for name in (*metrics.FROM_CONFUSION, *_OTHERS)},
        "per_class": {
            dx: {name: figures[f"per_class.{dx}.{name}"] for name in _PER_CLASS} | count(split.label_N == c)
            for c, dx in enumerate(split.classes)
        },
        "malignant": {name: figures[f"malignant.{name}"] for name in _MALIGNANT}
        | count(malignant)
        | {"n_benign": n_benign, "threshold": split.threshold if split.malignant_columns else None},
        "melanoma": {name: figures[f"melanoma.{name}"] for name in _MELANOMA}
        | count(np.isin(split.label_N, split.melanoma_columns))
        | {"class": split.melanoma, "threshold": split.melanoma_threshold},
        "confusion": {"classes": list(split.classes), "counts": counts_CC.tolist()},
    }
