"""What several replicates of the proof say together: contrasts of arms with intervals, and the verdict.

A replicate is one training set, or one fold, with all its arms. Statistics are those of ``engine.evaluation.comparison``.

Shape legend: R replicates, B bootstrap draws, L lesions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.errors import DataError
from engine.evaluation import comparison
from engine.evaluation.comparison import Difference, Evidence, Floats
from engine.evaluation.statistics import LEVEL, lesion_weights
from engine.train_plan import derive_seed
from experiments.outcomes import ENDPOINTS, PRIMARY, Cases, Outcome, figures

FAMILY = ("classical", "random", "mined", "retrieved")
"""The baselines of the contrasts that Holm's procedure covers; all else is exploratory."""
DRAWS = 2000

Combine = Callable[[Floats, Floats, float], Difference]
"""How differences (R,) and their draws (R, B) become an interval of a level; the design of the replicates decides."""


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One training set or fold: its cases and each arm's outcomes on them, one a seed."""

    cases: Cases
    outcomes: Mapping[str, Sequence[Outcome]]

    def figures(self, arm: str, weights_BL: Floats) -> dict[str, Floats]:
        """Return an arm's endpoints (B,), the mean over its seeds: seeds are no replicates."""
        found = [figures(self.cases, outcome, weights_BL) for outcome in self.outcomes[arm]]
        return {name: np.mean([one[name] for one in found], axis=0) for name in ENDPOINTS}


def differences(
    replicates: Sequence[Replicate], arm: str, baseline: str, *, shared: bool
) -> dict[str, tuple[Floats, Floats]]:
    """Return arm minus baseline of each endpoint: (R,) and in draws of lesions (R, B), both arms drawn alike.

    ``shared``: the replicates have one test part, and a draw is the same lesions in all of them.

    Raises:
        DataError: replicates that should share their test part do not.
    """
    if shared and len({r.cases.digest for r in replicates}) > 1:
        raise DataError("the replicates were scored on different images; they cannot be resampled together")
    values: dict[str, list[float]] = {name: [] for name in ENDPOINTS}
    draws: dict[str, list[Floats]] = {name: [] for name in ENDPOINTS}
    for number, replicate in enumerate(replicates):
        count = int(replicate.cases.lesion_N.max()) + 1
        rng = np.random.default_rng(derive_seed("replicates", 0 if shared else number))
        weights_BL = np.vstack([np.ones((1, count)), lesion_weights(count, DRAWS, rng)])
        ours, theirs = (replicate.figures(name, weights_BL) for name in (arm, baseline))
        for name in ENDPOINTS:
            change = ours[name] - theirs[name]
            values[name].append(float(change[0]))
            draws[name].append(change[1:])
    return {name: (np.array(values[name]), np.array(draws[name])) for name in ENDPOINTS}


def one_test_part(value_R: Floats, drawn_RB: Floats, level: float = LEVEL) -> Difference:
    """Training sets that share a test part: the wider of the crossed bootstrap and the paired t."""
    rng = np.random.default_rng(derive_seed("replicates", "crossed"))
    return comparison.headline(
        comparison.crossed_bootstrap(value_R, drawn_RB, rng, level), comparison.paired_t(value_R, level)
    )


def analyse(
    replicates: Sequence[Replicate],
    baselines: Sequence[str],
    combine: Combine,
    *,
    shared: bool,
    protocol: str,
) -> dict[str, Any]:
    """Return the contrasts of ``hard`` with every baseline, Holm's family, and the verdict; JSON.

    The family's intervals are widened to hold together; the others are exploratory.
    """
    pairs = {
        baseline: {
            name: pair
            for name, pair in differences(replicates, "hard", baseline, shared=shared).items()
            if not np.isnan(pair[0]).any()
        }
        for baseline in baselines
    }
    contrasts = {
        b: {name: combine(*pair, LEVEL) for name, pair in found.items()} for b, found in pairs.items()
    }
    family = {name: pairs[name][PRIMARY] for name in FAMILY if PRIMARY in pairs.get(name, {})}
    level = comparison.simultaneous_level(len(family))
    p_values = {name: contrasts[name][PRIMARY].p_value for name in family}
    adjusted = comparison.holm({name: p for name, p in p_values.items() if p is not None})
    found = {
        "replicates": len(replicates),
        "hard_minus": {b: {name: asdict(d) for name, d in c.items()} for b, c in contrasts.items()},
        "family": {
            name: {**asdict(combine(*pair, level)), "p_holm": adjusted.get(name)}
            for name, pair in family.items()
        },
    }
    return found | _verdict(contrasts, len(replicates), protocol)


def _verdict(
    contrasts: Mapping[str, Mapping[str, Difference]], replicates: int, protocol: str
) -> dict[str, str]:
    if not all(PRIMARY in contrasts.get(name, {}) for name in ("real", "random")):
        return {"verdict": "not shown", "why": "the arms real and random are needed"}
    real = contrasts["real"]
    answer, why = comparison.verdict(
        Evidence(
            protocol=protocol,
            replicates=replicates,
            against_real=real[PRIMARY],
            against_random=contrasts["random"][PRIMARY],
            specificity=real["malignant_specificity"],
            melanoma_sensitivity=real.get("melanoma_sensitivity"),
        )
    )
    return {"verdict": answer, "why": why}
