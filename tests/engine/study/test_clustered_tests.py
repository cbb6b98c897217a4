"""McNemar and DeLong adjusted for clusters: against statsmodels and their definition; their level on simulated lesions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from engine.study.clustered_tests import delong_clustered, mcnemar_clustered
from engine.types import strings
from experiments.statistics import simulate, summary


def test_mcnemar_without_clusters_is_statsmodels() -> None:
    rng = np.random.default_rng(0)
    now, before = rng.random(300) < 0.8, rng.random(300) < 0.7
    table = [[(now & before).sum(), (now & ~before).sum()], [(~now & before).sum(), (~now & ~before).sum()]]
    theirs = mcnemar(table, exact=False, correction=False).pvalue
    assert mcnemar_clustered(now, before, strings([str(i) for i in range(300)])) == pytest.approx(
        theirs, rel=1e-6
    )
    assert mcnemar_clustered(now, now, strings(["a"] * 300)) is None


def test_mcnemar_with_clusters_by_hand() -> None:
    """Durkalski et al. 2003: (sum of (b_k - c_k) / n_k)^2 / sum of its squares, worked out on paper.

    b_k photographs of lesion k are right now and were wrong before, c_k the other way round, n_k are there:

        lesion         a    b    c     d   e       f   g
        b, c of n    2,0  1,0  1,2   1,0  1,1     0,0 0,1
                     of 3 of 2 of 4  of 1 of 2    of 3 of 2
        (b - c) / n  2/3  1/2  -1/4  1   0       0   -1/2

    sum = (8 + 6 - 3 + 12 - 6) / 12 = 17/12; sum of squares = (64 + 36 + 9 + 144 + 36) / 144 = 289/144 = (17/12)^2.
    So chi-squared is 1 with one degree of freedom, and p is the chance of a normal variable beyond one standard
    deviation: 0.3173105 in any table. Without clusters it would be (6 - 4)^2 / (6 + 4) = 0.4 and p 0.5270893.
    """
    lesions = {"a": "++.", "b": "+.", "c": "+--.", "d": "+", "e": "+-", "f": "...", "g": "-."}
    change = "".join(lesions.values())
    names = strings([name for name, photographs in lesions.items() for _ in photographs])
    now, before = (np.array([sign != lost for sign in change]) for lost in "-+")
    assert mcnemar_clustered(now, before, names) == pytest.approx(0.3173105079, rel=1e-6)
    each = strings([str(n) for n in range(len(change))])
    assert mcnemar_clustered(now, before, each) == pytest.approx(0.5270892569, rel=1e-6)


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


def test_delong_with_clusters_by_hand() -> None:
    """Obuchowski 1997 on paper: four patients P, Q, R, S with M = 4 malignant and N = 4 benign lesions.

    V is the share of lesions of the other kind that a lesion outranks as it should (a tie: a half), d = V first - V second.

                     malignant                     benign
                     P    Q    Q     R             P    R    S   S
        first        7    5    3     8             4    2    1   6
        V            1    3/4  1/2   1             3/4  1    1   1/2     area 13/16
        second       6    2    4     5             3    5    1   4
        V            1    1/4  5/8   7/8           3/4  3/8  1   5/8     area 11/16
        d            0    1/2  -1/8  1/8           0    5/8  0   -1/8    means 1/8
        d - 1/8     -1/8  3/8  -1/4  0            -1/8  1/2 -1/8 -1/4
        patients     P -1/8, Q 1/8, R 0            P -1/8, R 1/2, S -3/8

    S10 = 3 / (2 M) (1 + 1) / 64 = 3/256 from the three patients with malignant lesions,
    S01 = 3 / (2 N) (1 + 16 + 9) / 64 = 39/256 from the three with benign ones,
    S11 = 4 / 3 (-1/8) (-1/8) = 1/48: of the four patients, P and R have both kinds, and R adds 0;
    variance = S10 / M + S01 / N + 2 S11 / (M N) = 42/1024 + 1/384 = 67/1536.
    Without clusters it is 7/32 / 12 + 11/32 / 12 = 3/64.
    """
    patient = strings(list("PQQRPRSS"))
    positive = np.arange(8) < 4
    first, second = np.array([7.0, 5, 3, 8, 4, 2, 1, 6]), np.array([6.0, 2, 4, 5, 3, 5, 1, 4])
    found = delong_clustered(first, second, positive, patient)
    assert found.value == pytest.approx(1 / 8, rel=1e-9)
    assert found.width / (2 * 1.959963985) == pytest.approx(math.sqrt(67 / 1536), rel=1e-6)
    assert found.p_value == pytest.approx(math.erfc(1 / 8 / math.sqrt(2 * 67 / 1536)), rel=1e-6)
    alone = delong_clustered(first, second, positive, strings([str(n) for n in range(8)]))
    assert alone.width / (2 * 1.959963985) == pytest.approx(math.sqrt(3 / 64), rel=1e-6)


@pytest.mark.slow
def test_all_hold_their_level_on_lesions_photographed_several_times() -> None:
    found = {name: summary(many) for name, many in simulate("pair", 800, 0, seed=3).items()}
    assert 0.03 <= found["clustered McNemar"]["rejected"] <= 0.07
    assert 0.03 <= found["clustered sign-flip"]["rejected"] <= 0.07
    assert 0.03 <= found["clustered DeLong"]["rejected"] <= 0.07
    assert 0.93 <= found["clustered DeLong"]["covered"] <= 0.98


def test_delong_knows_patients_with_lesions_of_both_kinds() -> None:
    """Obuchowski 1997 by its definition: the covariance of a cluster's positive and negative sums belongs to it."""
    rng = np.random.default_rng(4)
    positive = np.array([True, False] * 30)
    patient = np.repeat(np.arange(20), 3)  # three images each, both kinds
    first, second = rng.normal(positive * 1.0), rng.normal(positive * 0.7)
    found = delong_clustered(first, second, positive, strings([f"P{p}" for p in patient]))

    def placements(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        psi = (score[positive][:, None] > score[~positive][None]).astype(float)
        return psi.mean(axis=1), psi.mean(axis=0)

    ten, one = (a - b for a, b in zip(placements(first), placements(second), strict=True))
    mean, variance = ten.mean(), 0.0
    for number in range(20):
        own = (
            (ten - mean)[patient[positive] == number].sum(),
            (one - mean)[patient[~positive] == number].sum(),
        )
        variance += 20 / 19 * (own[0] / 30 + own[1] / 30) ** 2
    assert found.width / (2 * stats.norm.ppf(0.975)) == pytest.approx(math.sqrt(variance), rel=1e-6)
