"""Simulates null studies and analyses them like real ones: do 95 % intervals cover 95 %, do 5 % tests reject 5 %?

usage: python -m experiments.statistics [--studies 600] [--draws 300] [--designs shared folds pair sets] [--name statistics]

Lesions have one to three photographs. Two arms look at different but equally telling halves of the features, so neither is
better. Each arm learns a linear discriminant from its training lesions: differences between training sets, the overlap of
folds and what a lesion does to both arms arise as they do in a study, and are not put in as numbers. Val fixes the
thresholds. `pair` keeps both classifiers fixed at the true direction: McNemar, sign-flip and DeLong test one pair of
classifiers. `sets` are folds of which each trains on small sets of its own, so that folds share few training lesions: beside
the study's own t stand others, with no correlation, that of training lesions in common, and that of the parts' sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from engine.evaluation.statistics import paired_p_value
from engine.study.clustered_tests import delong_clustered, mcnemar_clustered
from engine.study.comparison import Difference, corrected_t, paired_t
from engine.study.contrasts import PRIMARY, make_study
from engine.study.design import Design
from engine.study.replicates import Endpoints, Part, Replicate
from engine.types import strings
from experiments.lib.keeping import provenance, save, script, this_command

FIGURES = (PRIMARY, "malignant.specificity", "accuracy", "malignant.auc")
HALF = 8
TELLING = 0.55
SPREAD = 1.0
PHOTOGRAPH = 0.6
TRAIN, VAL, TEST, SETS = 60, 80, 240, 8
POOL, FOLDS = 400, 5
SETS_POOL, SETS_PER_FOLD = 600, 2
SETS_SIZES = {"sets of 20": 20, "sets of 50": 50, "sets of 110": 110}
"""Training lesions of each set; the more, the more two folds have in common."""
DESIGNS = ("shared", "folds", "pair", "sets")
SIGNS = 1000
"""Sign patterns of a sign-flip test: its p values are multiples of 1 / 1001."""


def main() -> None:
    """Simulate every design asked for and save coverage and rejection rates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=600)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--designs", nargs="+", default=[*DESIGNS], choices=DESIGNS)
    parser.add_argument("--name", default="statistics")
    arguments = parser.parse_args()
    start = time.monotonic()
    rows: dict[str, Any] = {}
    for design in designs(arguments.designs):
        found = simulate(design, arguments.studies, arguments.draws, seed=0)
        rows[design] = {name: summary(many) for name, many in found.items()}
        print(f"{design}: {time.monotonic() - start:.0f} s")
        for name, row in rows[design].items():
            print(f"  {name}: {row}")
    result = {
        **provenance(this_command()),
        "seeds": [0],
        "studies": arguments.studies,
        "draws": arguments.draws,
        "sizes": {
            "train": TRAIN,
            "val": VAL,
            "test": TEST,
            "sets": SETS,
            "pool": POOL,
            "folds": FOLDS,
            "sets_pool": SETS_POOL,
            "sets_per_fold": SETS_PER_FOLD,
        },
        "seconds": round(time.monotonic() - start, 1),
        "designs": rows,
    }
    print(save(arguments.name, result))


def designs(asked: Sequence[str]) -> list[str]:
    """Return the designs to simulate: `sets` is one of each size."""
    return [one for name in asked for one in (SETS_SIZES if name == "sets" else [name])]


def simulate(design: str, studies: int, draws: int, *, seed: int) -> dict[str, list[Difference]]:
    """Return the null differences of every figure and procedure over many studies; the true difference is 0."""
    found: dict[str, list[Difference]] = {}
    for number in range(studies):
        rng = np.random.default_rng([seed, number])
        if design == "pair":
            for name, difference in pair_tests(rng):
                found.setdefault(name, []).append(difference)
            continue
        if design in SETS_SIZES:
            runs = list(sets_study(rng, SETS_SIZES[design]))
        else:
            runs = list(shared_study(rng) if design == "shared" else folds_study(rng))
        study = make_study(runs, draws=draws, seed=number)
        for figure in FIGURES:
            contrast = study.contrast(figure, "real")
            if contrast is None:
                continue
            found.setdefault(f"{figure}: headline", []).append(contrast.difference)
            for procedure in contrast.procedures[:1] if design in SETS_SIZES else contrast.procedures:
                found.setdefault(f"{figure}: {procedure.method}", []).append(procedure)
            if design in SETS_SIZES:
                for rule, difference in rules(np.array(contrast.values), study.design, runs):
                    found.setdefault(f"{figure}: {rule}", []).append(difference)
    return found


def summary(differences: list[Difference]) -> dict[str, float]:
    """Share of intervals that hold 0, of tests that reject at 5 %, and the mean width."""
    p_values = [d.p_value for d in differences if d.p_value is not None]
    intervals = [d for d in differences if np.isfinite(d.width)]
    row = {"n": len(differences), "rejected": round(float(np.mean(np.array(p_values) < 0.05)), 4)}
    if intervals:
        row["covered"] = round(float(np.mean([d.low <= 0 <= d.high for d in intervals])), 4)
        row["width"] = round(float(np.mean([d.width for d in intervals])), 4)
    return row


def shared_study(rng: np.random.Generator) -> Iterator[Replicate]:
    """Disjoint training sets that share val and test."""
    val, test = Lesions(rng, VAL, "v"), Lesions(rng, TEST, "t")
    for number in range(SETS):
        train = Lesions(rng, TRAIN, f"s{number}_")
        yield replicate(f"set {number}", number, train, val, test)


def folds_study(rng: np.random.Generator) -> Iterator[Replicate]:
    """A cross-validation: test is one fold, val the next, train the rest."""
    pool = Lesions(rng, POOL, "p")
    fold = np.arange(POOL) % FOLDS
    for number in range(FOLDS):
        test, val = pool.only(fold == number), pool.only(fold == (number + 1) % FOLDS)
        train = pool.only((fold != number) & (fold != (number + 1) % FOLDS))
        yield replicate(f"fold {number}", 0, train, val, test)


def sets_study(rng: np.random.Generator, size: int) -> Iterator[Replicate]:
    """A cross-validation with disjoint training sets in each fold: half of what is not test is val, the rest gives sets."""
    pool = Lesions(rng, SETS_POOL, "p")
    fold = np.arange(SETS_POOL) // 3 % FOLDS  # every third lesion is malignant
    for number in range(FOLDS):
        rest = (3 * rng.permutation(np.flatnonzero(fold[::3] != number))[:, None] + np.arange(3)).ravel()
        val, others = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        for place in range(SETS_PER_FOLD):
            chosen = others[place * size : (place + 1) * size]
            parts = [pool.only(np.isin(np.arange(SETS_POOL), rows)) for rows in (chosen, val)]
            name = f"fold {number}, set {place}"
            yield replace(replicate(name, 0, *parts, pool.only(fold == number)), whole=False)


def rules(value_R: Any, design: Design, runs: Sequence[Replicate]) -> Iterator[tuple[str, Difference]]:
    """Return the study's t over folds, and those by other correlations: none, training lesions in common, the sizes'."""
    yield "corrected t over folds", corrected_t(value_R, design.correlation)
    yield "paired t, no correlation", paired_t(value_R)
    train = [frozenset().union(*(runs[r].lesions("train") for r in rows)) for rows in design.groups]
    share = np.mean([len(one & other) / len(one) for one, other in combinations(train, 2)])
    yield "t by training lesions in common alone", corrected_t(value_R, float(share))
    yield "corrected resampled t", corrected_t(value_R, design.cap)


def pair_tests(rng: np.random.Generator) -> Iterator[tuple[str, Difference]]:
    """Clustered McNemar, sign-flip and DeLong of two fixed classifiers that are equally good."""
    test = Lesions(rng, TEST, "t")
    scores = {arm: half.sum(axis=1) for arm, half in test.halves().items()}
    middle = TELLING * HALF / 2
    right = {arm: (score > middle) == (test.label_N == 1) for arm, score in scores.items()}
    p = mcnemar_clustered(right["hard"], right["real"], test.lesion_N)
    yield "clustered McNemar", _p_alone(p, "McNemar")
    p = paired_p_value(right["hard"], right["real"], test.lesion_N, rng, draws=SIGNS)
    yield "clustered sign-flip", _p_alone(p, "sign-flip")
    yield (
        "clustered DeLong",
        delong_clustered(scores["hard"], scores["real"], test.label_N == 1, test.lesion_N),
    )


def _p_alone(p_value: float | None, method: str) -> Difference:
    """A test without an interval."""
    return Difference(value=0, low=-np.inf, high=np.inf, p_value=p_value, method=method)


class Lesions:
    """Simulated lesions: a third malignant, one to three photographs each, features of two exchangeable halves."""

    def __init__(self, rng: np.random.Generator, count: int, part: str) -> None:
        """Draw them; ``part`` starts their names."""
        label = (np.arange(count) % 3 == 0).astype(np.int64)
        own = rng.normal(0, SPREAD, (count, 2 * HALF)) + TELLING * label[:, None]
        shots = np.repeat(np.arange(count), rng.integers(1, 4, count))
        self.part = part
        self.position_N = shots
        self.label_N = label[shots]
        self.feature_NF = own[shots] + rng.normal(0, PHOTOGRAPH, (len(shots), 2 * HALF))

    @property
    def lesion_N(self) -> Any:
        """Lesion id of each photograph."""
        return strings([f"{self.part}{n:04d}" for n in self.position_N])

    def only(self, lesions: Any) -> Lesions:
        """The photographs of the lesions marked."""
        kept = object.__new__(Lesions)
        rows = lesions[self.position_N]
        kept.part, kept.position_N = self.part, self.position_N[rows]
        kept.label_N, kept.feature_NF = self.label_N[rows], self.feature_NF[rows]
        return kept

    def halves(self) -> dict[str, Any]:
        """What each arm looks at."""
        return {"real": self.feature_NF[:, :HALF], "hard": self.feature_NF[:, HALF:]}


def replicate(name: str, seed: int, train: Lesions, val: Lesions, test: Lesions) -> Replicate:
    """Both arms' discriminants fitted on ``train`` and applied to val and test."""
    models = {arm: discriminant(half, train.label_N) for arm, half in train.halves().items()}
    val_part, test_part = (_part(lesions, models) for lesions in (val, test))
    return Replicate(
        name=name,
        seed=seed,
        protocol="safe",
        classes=("mel", "nv"),
        endpoints=Endpoints(malignant=("mel",)),
        parts={
            part: frozenset(lesions.lesion_N.tolist())
            for part, lesions in (("train", train), ("val", val), ("test", test))
        },
        val=val_part,
        test=test_part,
    )


def discriminant(feature_NF: Any, label_N: Any) -> tuple[Any, float]:
    """Weights and threshold of a linear discriminant with the identity as covariance."""
    means = [feature_NF[label_N == c].mean(axis=0) for c in (0, 1)]
    weights = means[1] - means[0]
    return weights, float(weights @ (means[0] + means[1]) / 2)


def _part(lesions: Lesions, models: dict[str, tuple[Any, float]]) -> Part:
    prob = {}
    for arm, half in lesions.halves().items():
        weights, middle = models[arm]
        malignant = 1 / (1 + np.exp(-(half @ weights - middle)))
        prob[arm] = np.column_stack([malignant, 1 - malignant])
    return Part(
        image_id=strings([str(n) for n in range(len(lesions.label_N))]),
        lesion_id=lesions.lesion_N,
        group_N=lesions.lesion_N,
        label_N=1 - lesions.label_N,
        prob=prob,
    )


if __name__ == "__main__":
    script(main)
