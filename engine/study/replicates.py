"""One replicate of a study: what every arm predicted for val and test, and its figures in bootstrap draws of lesions.

Val fixes the operating points. In each draw val lesions are drawn too and the points are read again from their ROC, so that
an interval knows how much a threshold owes to the lesions it was fixed on.

Shape legend: B bootstrap draws, N images, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.evaluation import operating_points as points
from engine.evaluation.metrics import Floats
from engine.evaluation.scoring import ScoredSplit, bootstrap_figures, malignant_score
from engine.evaluation.statistics import group_weights
from engine.types import BoolArray, FloatArray, IntArray, StrArray

_BLOCK_ELEMENTS = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """What is called malignant and melanoma, and the operating points: specificity of the one, sensitivity of the other."""

    malignant: tuple[str, ...]
    melanoma: str | None = "mel"
    specificity: float = 0.90
    melanoma_sensitivity: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Part:
    """Val or test of a replicate, rows sorted by image id; ``prob`` holds (N, C) probabilities of each arm.

    ``group_N`` names what a bootstrap draws as one: a lesion, or what it belongs to (a patient, near-duplicates).
    """

    image_id: StrArray
    lesion_id: StrArray
    group_N: StrArray
    label_N: IntArray
    prob: Mapping[str, FloatArray]


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One training set (or fold, or seed) on which every arm was trained.

    ``parts`` holds the lesion ids of each part; ``references`` are arms that were trained on real images no other arm sees:
    to look at, not a bar to clear.
    """

    name: str
    seed: int
    protocol: str
    classes: tuple[str, ...]
    endpoints: Endpoints
    parts: Mapping[str, frozenset[str]]
    references: frozenset[str] = frozenset()
    val: Part
    test: Part

    def lesions(self, part: str) -> frozenset[str]:
        """Lesion ids of a part of the split; empty where it has none."""
        return self.parts.get(part, frozenset())

    @property
    def all_lesions(self) -> frozenset[str]:
        """Lesion ids of all parts."""
        return frozenset().union(*self.parts.values())

    @property
    def malignant_columns(self) -> list[int]:
        """Positions of the malignant classes."""
        return [c for c, dx in enumerate(self.classes) if dx in self.endpoints.malignant]

    def right(self, arm: str) -> BoolArray:
        """Whether the arm's most probable class is the true one, of each test image."""
        return np.asarray(self.test.prob[arm].argmax(axis=1) == self.test.label_N)

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms with predictions, in the order given."""
        return tuple(self.test.prob)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Every figure of one arm by its dotted name: on the whole test part, and in B draws of lesions."""

    point: Mapping[str, float]
    drawn: Mapping[str, Floats]


def arm_figures(replicate: Replicate, arm: str, draws: int, seed: int) -> Figures:
    """Return the figures of report.json's metric object by dotted name, with operating points read again in each draw.

    The draws depend on the lesions and ``seed`` alone: arms, and replicates that share a test set, are drawn alike.
    """
    split = ScoredSplit(
        prob_NC=replicate.test.prob[arm],
        label_N=replicate.test.label_N,
        lesion_id=replicate.test.lesion_id,
        group_N=replicate.test.group_N,
        classes=replicate.classes,
        malignant=replicate.endpoints.malignant,
        specificity=replicate.endpoints.specificity,
    )
    point, drawn = bootstrap_figures(split, draws=draws, rng=_generator(replicate.test, "test", seed))
    for name in ("malignant", "melanoma"):
        read = _operating_point(replicate, arm, name)
        if read is not None:
            plain, many = (read.shares(count, seed) for count in (None, draws))
            for figure, value, values_B in zip(("sensitivity", "specificity"), plain, many, strict=True):
                point[f"{name}.{figure}"], drawn[f"{name}.{figure}"] = float(value[0]), values_B
    return Figures(point=point, drawn=drawn)


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """One operating point: scores and truth of val and test, and how the threshold follows from val."""

    val: Part
    test: Part
    scores: tuple[Floats, Floats]
    truths: tuple[BoolArray, BoolArray]
    by_specificity: bool
    target: float

    def shares(self, draws: int | None, seed: int) -> tuple[Floats, Floats]:
        """Return test sensitivity and specificity, (draws,), or (1,) on the whole parts for None."""
        weights = [
            _weights(part, kind, draws, seed) for part, kind in ((self.val, "val"), (self.test, "test"))
        ]
        index = [np.unique(part.group_N, return_inverse=True)[1] for part in (self.val, self.test)]
        fix = points.specificity_thresholds if self.by_specificity else points.sensitivity_thresholds
        block = max(1, _BLOCK_ELEMENTS // max(1, *(len(rows) for rows in index)))
        found = []
        for start in range(0, len(weights[0]), block):
            val_BN, test_BN = (
                w[start : start + block][:, rows] for w, rows in zip(weights, index, strict=True)
            )
            threshold_B = fix(val_BN, self.scores[0], self.truths[0], self.target)
            found.append(points.shares_at(test_BN, self.scores[1], self.truths[1], threshold_B))
        sensitivity, specificity = (np.concatenate(values) for values in zip(*found, strict=True))
        return sensitivity, specificity


def _operating_point(replicate: Replicate, arm: str, name: str) -> _Reading | None:
    """None where the data has no such class (or nothing else)."""
    wanted = replicate.endpoints.malignant if name == "malignant" else (replicate.endpoints.melanoma,)
    columns = [c for c, dx in enumerate(replicate.classes) if dx in wanted]
    if not columns or len(columns) == len(replicate.classes):
        return None
    val, test = replicate.val, replicate.test
    return _Reading(
        val=val,
        test=test,
        scores=(malignant_score(val.prob[arm], columns), malignant_score(test.prob[arm], columns)),
        truths=(np.isin(val.label_N, columns), np.isin(test.label_N, columns)),
        by_specificity=name == "malignant",
        target=replicate.endpoints.specificity if name == "malignant" else replicate.endpoints.melanoma_sensitivity,
    )  # fmt: skip


def _weights(part: Part, kind: str, draws: int | None, seed: int) -> Floats:
    count = len(np.unique(part.group_N))
    return np.ones((1, count)) if draws is None else group_weights(count, draws, _generator(part, kind, seed))


def _generator(part: Part, kind: str, seed: int) -> np.random.Generator:
    """Draws of the same lesions are the same, whichever replicate they belong to."""
    text = "\n".join([kind, *np.unique(part.group_N).tolist()])
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")])
