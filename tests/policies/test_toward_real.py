"""Gradients and covariances of candidates against those of real lesions, computed by hand and the long way."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from engine.types import SelectionState
from policies import registry
from policies.selection import Random
from policies.toward_real import Covariance, GradientAlignment, alignment, compared, match
from tests.policies.candidates import candidates, chosen, kept

NO_REAL: dict[str, Any] = {
    "real_feature_NF": np.zeros((0, 5)),
    "real_prob_NC": np.zeros((0, 3)),
    "real_label_N": np.zeros(0, dtype=np.int64),
}


def test_policies_that_want_real_lesions_say_so() -> None:
    wanting = {n for n in registry.names("selection") if registry.make("selection", {"name": n}).wants_real}
    assert wanting == {"gradient_alignment", "covariance"}
    for policy in (GradientAlignment(), Covariance()):
        with pytest.raises(ValueError, match=r"asked for real lesions \(its attribute wants_real\)"):
            chosen(policy, candidates([0, 1], **NO_REAL))


def one_real(**changes: Any) -> SelectionState:
    """One real lesion of class 0 that the classifier gives class 1, with feature (1, 0): gradient (-1, 1, 0) x (1, 0)."""
    return candidates(
        [0] * len(changes["feature_SF"]),
        real_feature_NF=np.array([[1.0, 0.0]]),
        real_prob_NC=np.array([[0.0, 1.0, 0.0]]),
        real_label_N=np.array([0]),
        **changes,
    )


def test_alignment_by_hand() -> None:
    wrong, right = [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]
    state = one_real(
        classifier_prob_SC=np.array([wrong, wrong, wrong, right, [0.0, 0.0, 1.0]]),
        feature_SF=np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]),
    )
    # the same mistake on the same feature; on another; on the opposite; no mistake, no gradient; (-1, 0, 1) for (-1, 1, 0)
    assert alignment(state) == pytest.approx([1.0, 0.0, -1.0, 0.0, 0.5])


def test_alignment_is_the_cosine_of_the_outer_products() -> None:
    state = candidates([0, 1, 2, 2], real_label_N=np.array([0, 0, 0, 0, 1, 2]))
    real = np.einsum("nc,nf->ncf", state.real_prob_NC - np.eye(3)[state.real_label_N], state.real_feature_NF)
    mean = np.mean([real[state.real_label_N == c].mean(axis=0) for c in range(3)], axis=0).ravel()
    own = np.einsum("sc,sf->scf", state.classifier_prob_SC - state.target_SC, state.feature_SF).reshape(4, -1)
    cosine = own @ mean / (np.linalg.norm(own, axis=1) * np.linalg.norm(mean))
    assert alignment(state) == pytest.approx(cosine)


def aligned(total: int, passed: list[bool] | None = None) -> SelectionState:
    """Four candidates whose cosines are 1, 0.5, 0 and -1."""
    return one_real(
        classifier_prob_SC=np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]),
        feature_SF=np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]),
        total=total,
        passed=passed,
    )


def test_the_worst_share_is_kept_only_where_nothing_else_is_left() -> None:
    noisy = GradientAlignment(noise=100.0)
    assert {name for seed in range(60) for name in kept(noisy, aligned(1), seed)} == {"s000", "s001", "s002"}
    assert all("s003" not in kept(noisy, aligned(3), seed) for seed in range(20))
    assert "s003" in kept(noisy, aligned(4))
    assert {
        n for seed in range(60) for n in kept(GradientAlignment(noise=100.0, drop=0.5), aligned(1), seed)
    } == {
        "s000",
        "s001",
    }
    # of the two that passed, a share of 0.25 is none
    both = aligned(1, passed=[False, False, True, True])
    assert {n for seed in range(60) for n in kept(noisy, both, seed)} == {"s002", "s003"}
    assert kept(GradientAlignment(), aligned(2)) == ["s000", "s001"]


def test_another_class_gives_its_second_best_before_a_class_gives_its_worst_share() -> None:
    labels = [0, 0, 1, 1, 1, 1, 1, 1]
    state = candidates(labels, total=6, generated={"bkl": 4, "mel": 4})
    names = kept(GradientAlignment(drop=0.5), state)
    worst = [n for c in (0, 1) for n in worst_half(state, c)]
    good = [f"s{n:03d}" for n in range(8) if f"s{n:03d}" not in worst]
    assert set(good) <= set(names)  # 1 of bkl and 3 of mel are good; 2 of the others fill up
    assert len(names) == 6


def worst_half(state: SelectionState, label: int) -> list[str]:
    rows = np.flatnonzero(state.label_S == label)
    order = rows[np.argsort(alignment(state)[rows])]
    return [str(name) for name in state.sample_id[order[: len(rows) // 2]]]


def test_match_by_hand() -> None:
    """One component and the constant; the real lesions have mean 0 and variance 1: the second moment is the identity."""
    point = np.array([[0.0], [1.0], [-1.0], [3.0], [0.9]])
    rows = np.concatenate([point, np.ones((5, 1))], axis=1)
    rng = np.random.default_rng(0)
    chosen_rows, value = match(rows, np.eye(2), np.arange(5), 2, 0.0, rng)
    # distances of one point x: (x^2 - 1)^2 + 2 x^2; 1 at x = 0, 2 at 1 and -1, 82 at 3, 0.0361 + 1.62 at 0.9.
    # Then with 0: variance x^2 / 2, mean x / 2: (x^2 / 2 - 1)^2 + x^2 / 2: 0.75 at 1 and -1 (the first), 0.759 at 0.9.
    assert chosen_rows.tolist() == [0, 1]
    assert value[:2] == pytest.approx([2.0 - 1.0, 1.0 - 0.75])
    # As the next after 0 and 1 (second moment 1/2, mean 1/2: distance 0.75): -1 gives variance 2/3 and mean 0.
    assert value[2] == pytest.approx(0.75 - 1 / 9)
    assert value[3] == pytest.approx(0.75 - ((10 / 3 - 1) ** 2 + 2 * (4 / 3) ** 2))
    alone, value = match(rows, np.eye(2), np.array([3, 4]), 1, 0.0, rng)
    assert alone.tolist() == [4]
    none, value = match(rows, np.eye(2), np.arange(5), 0, 0.0, rng)
    assert len(none) == 0
    assert value == pytest.approx([1.0, 0.0, 0.0, -80.0, 2 - 1.6561])


def test_what_is_compared_are_components_around_the_real_mean() -> None:
    real = np.array([[5.0, 1.0], [7.0, 1.0], [6.0, 1.0], [6.0, 1.0], [0.0, 0.0]])
    state = candidates(
        [0, 0, 1],
        feature_SF=np.array([[6.0, 1.0], [7.0, 9.0], [0.0, 0.0]]),
        real_feature_NF=real,
        real_prob_NC=np.full((5, 3), 1 / 3),
        real_label_N=np.array([0, 0, 0, 0, 1]),
    )
    point, target = compared(state, np.array([0, 1]), "bkl", 1)
    assert np.abs(point) == pytest.approx(np.array([[0.0, 1.0], [np.sqrt(2), 1.0]]))  # one unit is sqrt(1/2)
    assert target == pytest.approx(np.eye(2))
    assert compared(state, np.array([2]), "mel", 8)[1].shape == (
        3,
        3,
    )  # one lesion of mel: all five, of two components
    assert compared(state, np.array([2]), "", 8)[1].trace() == pytest.approx(3.0)


def covariance_of(points: np.ndarray) -> np.ndarray:
    return np.cov(points.T, bias=True)


def test_covariance_comes_nearer_to_the_real_one_than_chance() -> None:
    rng = np.random.default_rng(3)
    real = rng.normal(size=(400, 6)) * np.array([3.0, 2.0, 1.0, 1.0, 0.5, 0.5])
    made = np.concatenate([rng.normal(size=(300, 6)) * 0.7, 1.5 + rng.normal(size=(100, 6)) * 4])
    state = candidates(
        [0] * 400,
        total=80,
        feature_SF=made,
        real_feature_NF=real,
        real_prob_NC=np.full((400, 3), 1 / 3),
        real_label_N=np.zeros(400, dtype=np.int64),
    )

    def away(policy: Any, seed: int = 0) -> tuple[float, float]:
        taken = made[chosen(policy, state, seed).keep_S]
        gap = np.linalg.norm(covariance_of(taken) - covariance_of(real))
        return float(gap), float(np.linalg.norm(taken.mean(axis=0) - real.mean(axis=0)))

    covariance, mean = away(Covariance())
    by_chance, mean_by_chance = np.mean([away(Random(), seed) for seed in range(10)], axis=0)
    assert covariance < by_chance / 3
    assert mean < mean_by_chance / 3


def test_fifteen_hundred_candidates_of_512_features_take_seconds() -> None:
    rng = np.random.default_rng(0)
    state = candidates(
        [0] * 1000 + [1] * 500,
        total=500,
        feature_SF=rng.normal(size=(1500, 512)).astype(np.float32),
        real_feature_NF=rng.normal(size=(500, 512)).astype(np.float32),
        real_prob_NC=rng.dirichlet(np.ones(3), 500),
        real_label_N=np.repeat([0, 1], 250),
    )
    for policy in (Covariance(), GradientAlignment()):
        start = time.process_time()
        assert chosen(policy, state).keep_S.sum() == 500
        assert time.process_time() - start < 5
