"""Where the chance in ``hard`` minus a baseline comes from: training sets, classifier seeds, test lesions.

A cell is a pair of classifiers of one training set and one seed. Its difference is the true one, plus what its training set
adds, plus what its seed adds, plus what the drawn test lesions add. What lesions add to two cells is known from bootstrap
draws of lesions that are the same in both: their covariance. What is left between cells is training. That is the model of
multi-reader multi-case studies, a training set standing for a reader (Obuchowski and Rockette 1995). Bouthillier et al.
(2021) name the same sources in machine learning benchmarks. Estimates are moments of pairs of cells and need no balance.

Shape legend: K cells, B bootstrap draws of lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.evaluation.metrics import Floats
from engine.study.design import Design
from engine.study.replicates import Figures, Replicate
from engine.types import BoolArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Differences of one figure, hard minus one baseline.

    Attributes:
        value_K: on the whole test part.
        drawn_KB: in draws of lesions; draw b holds the same lesions in all cells of one test part.
        set_K: the training set of each cell.
        replicate_K: the replicate (a training set, or a fold with all its training sets).
        shared: whether all cells have one test part; else replicates are folds with lesions of their own.
    """

    value_K: Floats
    drawn_KB: Floats
    set_K: IntArray
    replicate_K: IntArray
    shared: bool


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances of one difference, in the figure's units squared.

    Attributes:
        difference: mean over replicates of hard minus the baseline.
        training_sets: between training sets.
        seeds: between classifier seeds on one training set; None where each set has one seed: then it is part of
            ``training_sets``.
        lesions: of the test lesions that were drawn, in one cell.
        lesions_of_seeds: covariance that lesions cause between two seeds of one training set.
        lesions_of_sets: covariance that lesions cause between two training sets scored on the same lesions.
    """

    difference: float
    training_sets: float
    seeds: float | None
    lesions: float
    lesions_of_seeds: float
    lesions_of_sets: float

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON object."""
        return dict(vars(self))


def cells_of(
    runs: Sequence[Replicate],
    design: Design,
    ours: Sequence[Sequence[Figures]],
    theirs: Sequence[Sequence[Figures]],
    figure: str,
) -> Cells | None:
    """Return the cells of one figure; None where it is undefined in one of them.

    Args:
        runs: the study's runs.
        design: how they make replicates.
        ours: of each run, the figures of each classifier seed of ``hard``.
        theirs: the same of the baseline.
        figure: its dotted name.
    """
    sets: dict[frozenset[str], int] = {}
    of_run = [sets.setdefault(run.lesions("train"), len(sets)) for run in runs]
    replicate = {row: number for number, rows in enumerate(design.groups) for row in rows}
    pairs = [
        (row, a, b) for row in range(len(runs)) for a, b in zip(ours[row], theirs[row], strict=True)
    ]  # fmt: skip
    if any(figure not in one.point for _, a, b in pairs for one in (a, b)):
        return None
    value_K = np.array([a.point[figure] - b.point[figure] for _, a, b in pairs])
    drawn_KB = np.stack([a.drawn[figure] - b.drawn[figure] for _, a, b in pairs])
    drawn_KB = drawn_KB[:, np.isfinite(drawn_KB).all(axis=0)]
    if not np.isfinite(value_K).all() or drawn_KB.shape[1] < 2:
        return None
    return Cells(
        value_K=value_K,
        drawn_KB=drawn_KB,
        set_K=np.array([of_run[row] for row, _, _ in pairs], dtype=np.int64),
        replicate_K=np.array([replicate[row] for row, _, _ in pairs], dtype=np.int64),
        shared=design.kind == "shared test",
    )


def components_of(cells: Cells) -> Components:
    """Estimate the variances by moments; one that comes out below 0 is taken as 0.

    Half the squared difference of two cells has the expectation: variances of what they do not have in common, plus half the
    variance that lesions cause in their difference. The latter is taken from the draws and subtracted.

    Raises:
        ValueError: all cells have one training set.
    """
    lesions_KK = np.atleast_2d(np.cov(cells.drawn_KB))
    same_set = cells.set_K[:, None] == cells.set_K[None]
    same_part = np.full(same_set.shape, True) if cells.shared else _same(cells.replicate_K)
    lesions_KK = np.where(same_part, lesions_KK, 0.0)  # folds have no lesion in common
    apart = np.triu(np.ones_like(same_set), 1).astype(np.bool_)
    if not (apart & ~same_set).any():
        raise ValueError("components need two training sets or more")
    variance_K = np.diag(lesions_KK)
    squared_KK = 0.5 * (cells.value_K[:, None] - cells.value_K[None]) ** 2
    left_KK = squared_KK - 0.5 * (variance_K[:, None] + variance_K[None]) + lesions_KK
    seeds = _mean(left_KK, apart & same_set)
    both = max(0.0, _mean(left_KK, apart & ~same_set) or 0.0)
    of_seeds = _mean(lesions_KK, apart & same_set)
    of_sets = _mean(lesions_KK, apart & ~same_set & same_part)
    own = float(variance_K.mean())
    known = own if of_seeds is None else of_seeds
    return Components(
        difference=_over_replicates(cells),
        training_sets=both if seeds is None else max(0.0, both - max(0.0, seeds)),
        seeds=None if seeds is None else max(0.0, seeds),
        lesions=own,
        lesions_of_seeds=known,
        lesions_of_sets=known if of_sets is None else of_sets,
    )


def _same(place_K: IntArray) -> BoolArray:
    return np.asarray(place_K[:, None] == place_K[None])


def _mean(value_KK: Floats, wanted: BoolArray) -> float | None:
    return float(value_KK[wanted].mean()) if wanted.any() else None


def _over_replicates(cells: Cells) -> float:
    """The study's own mean: over the cells of a replicate, then over replicates."""
    means = [cells.value_K[cells.replicate_K == r].mean() for r in np.unique(cells.replicate_K)]
    return float(np.mean(means))
