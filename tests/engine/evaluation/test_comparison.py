"""Comparison of arms: closed forms against scipy and statsmodels, coverage on simulated data, and what counts as a claim."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from engine.evaluation.comparison import (
    Difference,
    Evidence,
    corrected_resampled_t,
    crossed_bootstrap,
    delong_clustered,
    fold_bootstrap,
    headline,
    holm,
    holm_intervals,
    mcnemar_clustered,
    paired_t,
    verdict,
)
from engine.types import strings

VALUES = np.array([0.05, 0.02, 0.08, -0.01, 0.04, 0.03, 0.06, 0.01])


def test_paired_t_is_scipys() -> None:
    found, theirs = paired_t(VALUES), stats.ttest_1samp(VALUES, 0.0)
    interval = theirs.confidence_interval(0.95)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert found.value == pytest.approx(VALUES.mean())
    with pytest.raises(ValueError, match="two replicates or more"):
        paired_t(VALUES[:1])


def test_corrected_resampled_t_widens_by_the_test_share() -> None:
    # 5 folds: variance s^2 (1/5 + 1/4) instead of s^2 / 5
    found, plain = corrected_resampled_t(VALUES[:5], 4.0, 1.0), paired_t(VALUES[:5])
    assert found.width == pytest.approx(plain.width * math.sqrt((1 / 5 + 1 / 4) / (1 / 5)), rel=1e-6)
    t = VALUES[:5].mean() / math.sqrt(np.var(VALUES[:5], ddof=1) * 0.45)
    assert found.p_value == pytest.approx(2 * stats.t.sf(t, 4), rel=1e-6)


def test_holm_is_statsmodels() -> None:
    p_values = {"classical": 0.011, "random": 0.02, "mined": 0.04, "retrieved": 0.3}
    theirs = multipletests(list(p_values.values()), method="holm")[1]
    assert list(holm(p_values).values()) == pytest.approx(theirs.tolist(), rel=1e-9)
    assert holm(dict(reversed(list(p_values.items())))) == pytest.approx(holm(p_values))


def test_simultaneous_intervals_are_bonferronis_for_a_normal() -> None:
    one = Difference(value=1.0, low=1 - 1.959964, high=1 + 1.959964, p_value=0.3, method="z")
    found = holm_intervals({"a": one, "b": one})
    assert found["a"].high - 1 == pytest.approx(stats.norm.ppf(1 - 0.05 / 4), rel=1e-6)
    assert holm_intervals({"a": one})["a"].width == pytest.approx(one.width)


def test_mcnemar_without_clusters_is_statsmodels() -> None:
    rng = np.random.default_rng(0)
    now, before = rng.random(300) < 0.8, rng.random(300) < 0.7
    table = [[(now & before).sum(), (now & ~before).sum()], [(~now & before).sum(), (~now & ~before).sum()]]
    theirs = mcnemar(table, exact=False, correction=False).pvalue
    assert mcnemar_clustered(now, before, strings([str(i) for i in range(300)])) == pytest.approx(
        theirs, rel=1e-6
    )
    assert mcnemar_clustered(now, now, strings(["a"] * 300)) is None


def test_mcnemar_counts_a_lesion_once_however_often_photographed() -> None:
    now, before = np.array([True, True, False]), np.array([False, False, True])
    once = mcnemar_clustered(now, before, strings(["a", "b", "c"]))
    often = mcnemar_clustered(
        np.repeat(now, 5), np.repeat(before, 5), strings([c for c in "abc" for _ in range(5)])
    )
    assert often == pytest.approx(once)


def test_delong_areas_and_variance_by_their_definition() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(60) < 0.4
    first = np.round(rng.normal(positive * 1.2), 1)  # with ties
    second = np.round(rng.normal(positive * 0.8), 1)
    found = delong_clustered(first, second, positive, strings([str(i) for i in range(60)]))
    assert found.value == pytest.approx(
        roc_auc_score(positive, first) - roc_auc_score(positive, second), rel=1e-9
    )

    def components(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = score[positive], score[~positive]
        psi = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
        return psi.mean(axis=1), psi.mean(axis=0)

    ten, one = (a - b for a, b in zip(components(first), components(second), strict=True))
    variance = np.var(ten, ddof=1) / len(ten) + np.var(one, ddof=1) / len(one)  # DeLong et al. 1988
    assert found.width / (2 * stats.norm.ppf(0.975)) == pytest.approx(math.sqrt(variance), rel=1e-6)


def test_delong_with_clusters_does_not_count_photographs_as_lesions() -> None:
    rng = np.random.default_rng(2)
    positive = rng.random(80) < 0.4
    first, second = rng.normal(positive * 1.0), rng.normal(positive * 0.7)
    names = strings([str(i) for i in range(80)])
    once = delong_clustered(first, second, positive, names)
    four = [np.repeat(a, 4) for a in (first, second, positive, names)]
    clustered = delong_clustered(*four)
    naive = delong_clustered(four[0], four[1], four[2], strings([str(i) for i in range(320)]))
    assert clustered.width == pytest.approx(once.width, rel=1e-6)
    assert naive.width < 0.6 * once.width


def simulated(
    rng: np.random.Generator, shares: tuple[float, float, float], sizes: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Null differences of R training sets on L shared lesions: set + lesion + both; their draws of lesions."""
    replicates, lesions = sizes
    of_set, of_lesion, of_both = shares
    d = rng.normal(0, of_set, (replicates, 1)) + rng.normal(0, of_lesion, (1, lesions))
    d = d + rng.normal(0, of_both, (replicates, lesions))
    weights = rng.multinomial(lesions, np.full(lesions, 1 / lesions), size=400) / lesions
    return d.mean(axis=1), d @ weights.T


@pytest.mark.slow
@pytest.mark.parametrize(
    "shares", [(0.02, 0.3, 0.4), (0.05, 0.3, 0.4), (0.0, 0.4, 0.5), (0.03, 0.0, 0.4)], ids=str
)
def test_headline_intervals_cover_and_tests_hold_their_level(shares: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(800):
        value, drawn = simulated(rng, shares, (8, 150))
        found.append(headline(crossed_bootstrap(value, drawn, rng), paired_t(value)))
    covered = np.mean([d.low <= 0 <= d.high for d in found])
    rejected = np.mean([d.p_value is not None and d.p_value < 0.05 for d in found])
    assert 0.92 <= covered <= 0.985  # 93-98 % and two standard errors of 800 simulations
    assert rejected <= 0.08


def test_a_paired_t_alone_forgets_the_lesions_and_a_lesion_bootstrap_the_training_sets() -> None:
    rng = np.random.default_rng(3)
    forgot = {"t": 0, "lesions": 0, "crossed": 0}
    for _ in range(200):
        value, drawn = simulated(rng, (0.04, 0.4, 0.2), (8, 150))
        found = {
            "t": paired_t(value),
            "lesions": fold_bootstrap(value, drawn),
            "crossed": crossed_bootstrap(value, drawn, rng),
        }
        for name, d in found.items():
            forgot[name] += not d.low <= 0 <= d.high
    assert forgot["t"] > 2 * forgot["crossed"]
    assert forgot["crossed"] <= 20


def difference(low: float, high: float) -> Difference:
    return Difference(value=(low + high) / 2, low=low, high=high, p_value=None, method="given")


GOOD = Evidence(
    protocol="safe",
    replicates=8,
    against_real=difference(0.01, 0.09),
    against_random=difference(0.005, 0.06),
    specificity=difference(-0.015, 0.01),
    melanoma_sensitivity=difference(-0.01, 0.05),
)


@pytest.mark.parametrize(
    ("changes", "expected", "why"),
    [
        ({}, "helped", "both intervals lie above 0"),
        ({"protocol": "leaky"}, "not shown", "the protocol is leaky"),
        ({"replicates": 4}, "not shown", "4 training sets"),
        ({"against_real": difference(-0.01, 0.09)}, "not shown", "against real holds 0"),
        ({"against_random": difference(-0.01, 0.05)}, "not shown", "against random synthesis holds 0"),
        ({"specificity": difference(-0.03, 0.01)}, "not shown", "specificity may have fallen"),
        (
            {"melanoma_sensitivity": difference(-0.05, 0.01)},
            "not shown",
            "melanoma sensitivity may have fallen",
        ),
        ({"melanoma_sensitivity": None}, "helped", "nothing else suffered"),
        ({"against_real": difference(-0.09, -0.01)}, "hurt", "below 0"),
        ({"against_real": difference(-0.09, -0.01), "protocol": "leaky"}, "not shown", "leaky"),
    ],
)
def test_the_verdict(changes: dict[str, object], expected: str, why: str) -> None:
    found, reason = verdict(replace(GOOD, **changes))  # type: ignore[arg-type]
    assert found == expected
    assert why in reason
