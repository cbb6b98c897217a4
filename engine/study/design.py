"""Which study do several runs make: training sets (or seeds) that share one test set, or folds of a cross-validation?

The runs themselves tell: their test lesions are the same, or disjoint. Anything in between is refused.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np

from engine.errors import DataError
from engine.study.replicates import Replicate

Kind = Literal["one run", "shared test", "cross-validation"]
SEED: Final = "training seed"
"""The unit of a study whose runs differ in nothing but the seed."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """How runs make replicates.

    ``groups`` lists the runs (by position) of each replicate: further seeds of one training set, or of one fold, are
    averaged. ``unit`` names a replicate in prose; ``n_train`` and ``n_test`` are mean numbers of lesions per run;
    ``in_common`` is the largest correlation that lesions in common can bring between two folds (``_in_common``), else 0.
    ``supposed`` is a correlation of folds that a protocol takes whatever they share. ``objection`` is a flaw that forbids a
    claim, "" for none.
    """

    kind: Kind
    unit: str
    groups: tuple[tuple[int, ...], ...]
    n_train: float
    n_test: float
    in_common: float = 0.0
    supposed: float | None = None
    objection: str = ""

    @property
    def replicates(self) -> int:
        """How many replicates there are."""
        return len(self.groups)

    @property
    def correlation(self) -> float:
        """Correlation between the differences of two folds that their t interval takes; 0 for another kind of study.

        Where folds share most of their training it is n_test / (n_test + n_train) (Nadeau and Bengio 2003, Sec. 4). Where
        they share little that is far too much, and the largest that lesions in common can bring is less. The smaller of the
        two is taken (``experiments/results/statistics_sets``). Lesions of val are not counted.
        """
        return min(self.in_common, self.cap) if self.supposed is None else self.supposed

    @property
    def cap(self) -> float:
        """The correlation of folds that the numbers of their lesions suggest."""
        return self.n_test / (self.n_test + self.n_train)


def find_design(runs: Sequence[Replicate]) -> Design:
    """Tell which study the runs make.

    Raises:
        DataError: no runs; other classes, endpoints or protocols; the same run twice; test parts that overlap in part;
            folds of different data; unequal numbers of runs a training set or fold. Names the runs.
    """
    if not runs:
        raise DataError("report: no run folder given")
    _check_alike(runs)
    _check_different(runs)
    test_parts = {frozenset(run.lesions("test")) for run in runs}
    kind: Kind = (
        "one run" if len(runs) == 1 else "shared test" if len(test_parts) == 1 else "cross-validation"
    )
    if kind == "cross-validation":
        _check_folds(runs)
    groups, unit = _groups(runs, kind)
    return Design(
        kind=kind,
        unit=unit,
        groups=groups,
        n_train=float(np.mean([len(run.lesions("train")) for run in runs])),
        n_test=float(np.mean([len(run.lesions("test")) for run in runs])),
        in_common=_in_common(runs, groups) if kind == "cross-validation" else 0.0,
        objection=_objection(runs, kind, unit),
    )


def _in_common(runs: Sequence[Replicate], groups: Sequence[Sequence[int]]) -> float:
    """Return the largest correlation that lesions in common can bring between two replicates: the mean over pairs.

    A difference is taken for a sum of what each training lesion and each test lesion adds. What two trainings add correlates
    by the share of lesions in common (for whatever does not depend on their order by no more: Hoeffding 1948, Sec. 5, the
    inequalities of zeta_c). What a lesion adds to one replicate in training and to another in testing correlates by 1 at
    most. Lesions that the generator saw count, where their share is larger than that of the classifier's own. Images
    without a label are the same in all replicates.
    """
    if len(groups) > 1 and any(run.generator_saw == "unlabelled" for run in runs):
        return 1.0
    own, seen, tested = (
        [Counter(x for r in rows for x in of(runs[r])) for rows in groups] for of in (_own, _seen, _tested)
    )
    found = [
        max(_share(learned[i], learned[j]) + (_share(learned[i], tested[j]) + _share(tested[i], learned[j])) / 2
            for learned in (own, seen))
        for i, j in combinations(range(len(groups)), 2)
    ]  # fmt: skip
    return min(1.0, float(np.mean(found))) if found else 0.0


def _tested(run: Replicate) -> frozenset[str]:
    return run.lesions("test")


def _own(run: Replicate) -> frozenset[str]:
    return run.lesions("train")


def _seen(run: Replicate) -> frozenset[str]:
    """All train lesions, also outside the classifier's own set; an older run does not say that its generator saw fewer."""
    return _own(run) if run.generator_saw == "own" else _own(run) | run.lesions("pool")


def _share(one: Counter[str], other: Counter[str]) -> float:
    """Return the correlation of two sums over lesions, each as often as runs of the replicate learned from it."""
    scale = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return sum(one[x] * other[x] for x in one.keys() & other.keys()) / scale if scale else 0.0


def _check_alike(runs: Sequence[Replicate]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for what, ours, theirs in (
            ("protocol", first.protocol, run.protocol),
            ("classes", first.classes, run.classes),
            ("endpoints", first.endpoints, run.endpoints),
        ):
            if ours != theirs:
                raise DataError(
                    f"{run.name}: {what} {theirs} differs from {first.name}'s {ours}; one study needs runs of one protocol"
                )


def _check_different(runs: Sequence[Replicate]) -> None:
    for one, other in combinations(runs, 2):
        same = all(one.lesions(part) == other.lesions(part) for part in ("train", "test"))
        if same and one.seed == other.seed:
            raise DataError(
                f"{other.name}: is the same as {one.name} (seed, training and test lesions); give each run once"
            )


def _check_folds(runs: Sequence[Replicate]) -> None:
    for one, other in combinations(runs, 2):
        ours, theirs = one.lesions("test"), other.lesions("test")
        shared = len(ours & theirs)
        if shared and ours != theirs:
            raise DataError(
                f"{one.name} and {other.name} share {shared} of {len(ours)} and {len(theirs)} test lesions: neither one "
                "test set nor folds of a cross-validation; give runs of one study"
            )
        strangers = theirs - one.all_lesions if one.whole else frozenset()
        if strangers or not one.all_lesions & other.all_lesions:
            raise DataError(
                f"{one.name} and {other.name} are no folds of one cross-validation: {len(strangers or theirs)} test "
                "lesions of the second are unknown to the first; give runs of one data set"
            )


def _groups(runs: Sequence[Replicate], kind: Kind) -> tuple[tuple[tuple[int, ...], ...], str]:
    """Runs of one training set (shared test) or one test part (folds) together; seeds where nothing else differs."""
    part = "test" if kind == "cross-validation" else "train"
    found: dict[frozenset[str], list[int]] = defaultdict(list)
    for position, run in enumerate(runs):
        found[run.lesions(part)].append(position)
    if kind == "shared test" and len(found) == 1:
        return tuple((position,) for position in range(len(runs))), SEED
    sizes = {len(rows) for rows in found.values()}
    unit = "fold" if kind == "cross-validation" else "training set"
    if len(sizes) > 1:
        names = "; ".join(", ".join(runs[row].name for row in rows) for rows in found.values())
        raise DataError(
            f"unequal numbers of runs a {unit} ({names}): seeds are averaged within a {unit}; give as many of each"
        )
    return tuple(tuple(rows) for rows in found.values()), unit


def _objection(runs: Sequence[Replicate], kind: Kind, unit: str) -> str:
    """Say what forbids a claim: shared lesions, or seeds in the place of training sets; "" for nothing."""
    for run in runs:
        straddling = len(run.lesions("train") & run.lesions("test"))
        if straddling:
            return f"{straddling} lesions of {run.name} lie in its training and its test part"
    if kind == "shared test":
        for one, other in combinations(runs, 2):
            ours, theirs = one.lesions("train"), other.lesions("train")
            if ours != theirs and ours & theirs:
                return (
                    f"the training sets of {one.name} and {other.name} share {len(ours & theirs)} lesions, so intervals "
                    "would be too narrow"
                )
    if unit == SEED:
        return (
            f"{len(runs)} seeds of one training set are no replicates: they tell nothing of other training sets; give runs "
            "of training sets that share no lesion, or of folds"
        )
    return ""
