"""One replicate of a study: what every arm predicted for val and test, and its figures in bootstrap draws of lesions.

Where an arm was trained by several classifier seeds on one pool, its figures are means over the seeds, in every draw too.
Val fixes the operating points. In each draw val lesions are drawn too and the points are read again from their ROC: an
interval knows how much a threshold owes to the lesions it was fixed on.

Shape legend: B bootstrap draws, N images, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np

from engine.evaluation import operating_points as points
from engine.evaluation.metrics import Floats
from engine.evaluation.scoring import ScoredSplit, bootstrap_figures, malignant_score
from engine.evaluation.statistics import group_weights
from engine.types import BoolArray, FloatArray, IntArray, StrArray

_BLOCK_ELEMENTS = 2_000_000
FIRST_PRIMARY = ("malignant.sensitivity",)
"""The primary endpoint of studies planned before ``evaluation.primary`` named it."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """What is called malignant and melanoma, the operating points, and the figures that a study was planned on.

    ``specificity`` is that of the malignant operating point, ``melanoma_sensitivity`` the sensitivity of melanoma's. Of
    ``primary`` the first figure is the primary endpoint, the others are co-primary.
    """

    malignant: tuple[str, ...]
    melanoma: str | None = "mel"
    specificity: float = 0.90
    melanoma_sensitivity: float = 0.95
    primary: tuple[str, ...] = FIRST_PRIMARY


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Val or test of a replicate, rows sorted by image id; ``prob`` holds (N, C) probabilities of each arm's first seed.

    It equals itself alone.

    ``group_N`` names what a bootstrap draws as one: a lesion, or what it belongs to (a patient, near-duplicates).
    ``further`` holds the probabilities of an arm's further classifier seeds, in the order of the seeds; none: one seed.
    """

    image_id: StrArray
    lesion_id: StrArray
    group_N: StrArray
    label_N: IntArray
    prob: Mapping[str, FloatArray]
    further: Mapping[str, Sequence[FloatArray]] = field(default_factory=dict)

    def seeds(self, arm: str) -> tuple[FloatArray, ...]:
        """Return the (N, C) probabilities of each classifier seed of an arm."""
        return (self.prob[arm], *self.further.get(arm, ()))

    def take(self, rows_N: BoolArray) -> Part:
        """Return the images marked, of every arm and seed."""
        return Part(
            image_id=self.image_id[rows_N],
            lesion_id=self.lesion_id[rows_N],
            group_N=self.group_N[rows_N],
            label_N=self.label_N[rows_N],
            prob={arm: prob_NC[rows_N] for arm, prob_NC in self.prob.items()},
            further={arm: [prob_NC[rows_N] for prob_NC in many] for arm, many in self.further.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One training set (or fold, or seed) on which every arm was trained.

    ``parts`` holds the lesion ids of each part; ``references`` are arms that were trained on real images no other arm sees:
    to look at, not a bar to clear. ``pools`` says what an arm trained on: two arms with the same text had the same images
    (``engine.study.pools``); an arm that is absent is not known. ``added`` counts the images that an arm's pool adds to the
    classifier's own, by class; absent likewise. ``generator_saw`` is that of the run (train, own, unlabelled), "" where it
    is not known. ``whole`` says whether its parts hold every lesion of the data: those of other training sets are left out
    of a run whose generator sees its own images alone.
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
    pools: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    generator_saw: str = ""
    whole: bool = True

    def same_pool(self, arm: str, other: str) -> bool:
        """Whether two arms are known to have trained on the same images."""
        return arm in self.pools and self.pools[arm] == self.pools.get(other)

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
        """Whether the most probable class of the arm's first seed is the true one, of each test image."""
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

    With several classifier seeds each figure is their mean, in every draw too; undefined where one seed's is. The draws
    depend on the lesions and ``seed`` alone: arms, classifier seeds, and replicates that share a test set are drawn alike.
    """
    return mean_figures(seed_figures(replicate, arm, draws, seed))


def mean_figures(found: Sequence[Figures]) -> Figures:
    """Return the mean of several classifiers' figures, in every draw too; of one, its own."""
    if len(found) == 1:
        return found[0]
    return Figures(
        point={n: float(np.mean([one.point[n] for one in found])) for n in found[0].point},
        drawn={n: np.mean([one.drawn[n] for one in found], axis=0) for n in found[0].drawn},
    )


def seed_figures(replicate: Replicate, arm: str, draws: int, seed: int) -> list[Figures]:
    """Return ``arm_figures`` of each of the arm's classifier seeds.

    They are remembered as long as the test part is there: a study and its power read the same draws.
    """
    known = _KNOWN.setdefault(replicate.test, {})
    asked = (replicate.val, replicate.classes, replicate.endpoints, arm, draws, seed)
    if asked not in known:
        known[asked] = tuple(_each_seed(replicate, arm, draws, seed))
    return list(known[asked])


_KNOWN: Final[WeakKeyDictionary[Part, dict[Hashable, tuple[Figures, ...]]]] = WeakKeyDictionary()
"""Of each test part that is there, the figures of what was asked about it."""


def _each_seed(replicate: Replicate, arm: str, draws: int, seed: int) -> Iterator[Figures]:
    val, test = replicate.val.seeds(arm), replicate.test.seeds(arm)
    yield from (
        _classifier_figures(
            replace(
                replicate,
                val=replace(replicate.val, prob={arm: val_NC}, further={}),
                test=replace(replicate.test, prob={arm: test_NC}, further={}),
            ),
            arm,
            draws,
            seed,
        )
        for val_NC, test_NC in zip(val, test, strict=True)
    )


def _classifier_figures(replicate: Replicate, arm: str, draws: int, seed: int) -> Figures:
    split = ScoredSplit(
        prob_NC=replicate.test.prob[arm],
        label_N=replicate.test.label_N,
        lesion_id=replicate.test.lesion_id,
        group_N=replicate.test.group_N,
        classes=replicate.classes,
        malignant=replicate.endpoints.malignant,
        specificity=replicate.endpoints.specificity,
    )
    point, drawn = bootstrap_figures(split, lesion_weights(replicate.test, "test", draws, seed))
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
            lesion_weights(part, kind, draws, seed) for part, kind in ((self.val, "val"), (self.test, "test"))
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


def lesion_weights(part: Part, kind: str, draws: int | None, seed: int) -> Floats:
    """Return how often each group of lesions counts in each draw, (draws, G); None: one row in which all count once.

    The same lesions are drawn alike, whichever replicate they belong to.
    """
    groups = np.unique(part.group_N)
    if draws is None:
        return np.ones((1, len(groups)))
    text = "\n".join([kind, *groups.tolist()])
    lesions = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return _drawn(len(groups), draws, seed, lesions)


@lru_cache(maxsize=2)
def _drawn(count: int, draws: int, seed: int, lesions: int) -> Floats:
    """Val's and test's draws are remembered: every arm, classifier seed and operating point asks for them in turn."""
    weights_BG = group_weights(count, draws, np.random.default_rng([seed, lesions]))
    weights_BG.flags.writeable = False
    return weights_BG
