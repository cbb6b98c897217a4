"""The two intervals of a study's design around a mean difference, and the one headline that they make.

Shape legend: R replicates, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.evaluation.metrics import Floats
from engine.evaluation.statistics import LEVEL
from engine.study import comparison as compare
from engine.study.comparison import Difference
from engine.study.design import Design


def intervals(
    value_R: Floats, drawn_RB: Floats, design: Design, seed: int, level: float = LEVEL
) -> tuple[Difference, ...]:
    """Return both differences of a design, one where there is one run.

    Args:
        value_R: difference of each replicate on its whole test part.
        drawn_RB: the same in draws of lesions.
        design: how the replicates make a study.
        seed: of the replicates that the crossed bootstrap draws.
        level: coverage of the intervals.
    """
    if design.replicates < 2:
        return (compare.fold_bootstrap(value_R, drawn_RB, level),)
    unit = f"{design.unit}s"
    if design.kind == "cross-validation":
        lesions = compare.fold_bootstrap(value_R, drawn_RB, level)
        capped = design.correlation == design.cap
        method = "corrected resampled t" if capped else "corrected t over folds"
        return (lesions, compare.corrected_t(value_R, design.correlation, level, method=method))
    rng = np.random.default_rng([seed, len(value_R)])
    return (
        compare.crossed_bootstrap(value_R, drawn_RB, rng, level, unit=unit),
        compare.paired_t(value_R, level, unit=unit),
    )


def headline_of(procedures: Sequence[Difference]) -> Difference:
    """Return what ``intervals`` gave as one difference: the outer ends of two."""
    return procedures[0] if len(procedures) == 1 else compare.headline(procedures[0], procedures[1])
