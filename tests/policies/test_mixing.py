"""Mixtures computed by hand (slerp, Dirichlet blends), and the properties every mixing policy has."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.types import Mixture, Neighbourhood, strings
from policies import registry
from policies.boundary import Boundary
from policies.mixing import Interpolate, KCenter, Neighbours, Self, blend, slerp, spread_out


def hood(
    n_cases: int = 3,
    k: int = 2,
    seed: int = 0,
    missing: dict[int, int] | None = None,
    alone: tuple[int, ...] = (),
) -> Neighbourhood:
    """Cases c0..; each has k neighbours but the ones in ``missing`` (case -> how many it lacks).

    Each has one neighbour of another class, but the ones in ``alone``.
    """
    rng = np.random.default_rng(seed)
    ids = np.array([[f"n{m}{j}" for j in range(k)] for m in range(n_cases)]).reshape(n_cases, k).astype("<U8")
    similarity = np.full((n_cases, k), 0.5)
    own = rng.normal(size=(n_cases, 2, 4)).astype(np.float32)
    others = rng.normal(size=(n_cases, k, 2, 4)).astype(np.float32)
    for case, lack in (missing or {}).items():
        ids[case, k - lack :] = ""
        similarity[case, k - lack :] = -np.inf
        others[case, k - lack :] = np.nan
    away = (
        np.array([["" if m in alone else f"o{m}"] for m in range(n_cases)]).reshape(n_cases, 1).astype("<U8")
    )
    return Neighbourhood(
        image_id=strings([f"c{m}" for m in range(n_cases)]),
        dx=strings(["nv"] * n_cases),
        levels_MLD=own,
        neighbour_ids_MK=ids,
        similarity_MK=similarity,
        neighbour_levels_MKLD=others,
        other_ids_MK=away,
        other_similarity_MK=np.where(away == "", -np.inf, 0.25),
        other_levels_MKLD=rng.normal(size=(n_cases, 1, 2, 4)).astype(np.float32),
    )


def mixed(policy: object, given_hood: Neighbourhood, counts: list[int], seed: int = 0) -> Mixture:
    result: Mixture = policy.mix(  # type: ignore[attr-defined]
        given_hood, np.array(counts, dtype=np.int64), np.random.default_rng(seed)
    )
    return result


def row(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_spread_out_by_hand() -> None:
    angles = np.radians([0, 10, 90, 180, 100])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # from 0 degrees: farthest is 180; then 90 (1 - cos = 1 from both) before 100 (0.94 from 180)... ties to the earlier
    assert spread_out(points, row([1.0, 0.05]), 3) == [0, 3, 2]
    assert spread_out(points, row([0.0, 1.0]), 1) == [2]
    assert spread_out(points, row([1.0, 0.0]), 0) == []
    assert sorted(spread_out(points, row([1.0, 0.0]), 5)) == [0, 1, 2, 3, 4]


def test_k_center_covers_more_than_interpolate() -> None:
    given_hood = hood(n_cases=1, k=4)

    def closest_pair(policy: object, seed: int) -> float:
        levels = mixed(policy, given_hood, [6], seed).levels_SLD.mean(axis=1).astype(np.float64)
        unit = levels / np.linalg.norm(levels, axis=1, keepdims=True)
        return float(1 - (unit @ unit.T)[np.triu_indices(6, 1)].max())

    plain = np.mean([closest_pair(Interpolate(high=0.7), seed) for seed in range(20)])
    spread = np.mean([closest_pair(KCenter(candidates=8), seed) for seed in range(20)])
    assert spread > 2 * plain


def test_k_center_with_one_candidate_is_interpolate_in_another_order() -> None:
    given_hood = hood(n_cases=2)
    plain, kept = (mixed(p, given_hood, [3, 2]) for p in (Interpolate(high=0.7), KCenter(candidates=1)))
    assert kept.parent_image_id.tolist() == plain.parent_image_id.tolist()
    assert sorted(kept.levels_SLD.sum(axis=(1, 2))) == pytest.approx(
        sorted(plain.levels_SLD.sum(axis=(1, 2)))
    )


def test_slerp_by_hand() -> None:
    half = slerp(row([1.0, 0.0]), row([0.0, 1.0]), 0.5)
    assert half == pytest.approx([math.sqrt(0.5), math.sqrt(0.5)])
    third = slerp(row([1.0, 0.0]), row([0.0, 1.0]), 1 / 3)
    assert third == pytest.approx([math.cos(math.pi / 6), math.sin(math.pi / 6)])


def test_slerp_interpolates_the_norm_linearly() -> None:
    half = slerp(row([2.0, 0.0]), row([0.0, 4.0]), 0.5)
    assert half == pytest.approx([3 * math.sqrt(0.5), 3 * math.sqrt(0.5)])
    assert slerp(row([1.0, 0.0]), row([3.0, 0.0]), 0.25) == pytest.approx([1.5, 0.0])


@pytest.mark.parametrize(("t", "expected"), [(0.0, [1, 0]), (0.4, [1, 0]), (0.5, [-1, 0]), (0.7, [-1, 0])])
def test_slerp_between_opposites_stays_on_the_nearer_end(t: float, expected: list[float]) -> None:
    assert slerp(row([1.0, 0.0]), row([-1.0, 0.0]), t) == pytest.approx(expected)


def test_slerp_from_a_zero_vector() -> None:
    assert slerp(row([0.0, 0.0]), row([0.0, 2.0]), 0.5) == pytest.approx([0.0, 1.0])
    assert slerp(row([0.0, 0.0]), row([0.0, 0.0]), 0.5) == pytest.approx([0.0, 0.0])


def test_blend_keeps_the_weighted_mean_of_the_norms() -> None:
    sources = np.array([[[[2.0, 0.0]], [[0.0, 2.0]]]])
    assert blend(sources, np.array([[0.5, 0.5]]))[0, 0] == pytest.approx([math.sqrt(2), math.sqrt(2)])
    assert blend(sources, np.array([[1.0, 0.0]]))[0, 0] == pytest.approx([2.0, 0.0])


def test_blend_of_opposites_is_the_heavier_one() -> None:
    sources = np.array([[[[1.0, 0.0]], [[-1.0, 0.0]]]])
    assert blend(sources, np.array([[0.5, 0.5]]))[0, 0] == pytest.approx([1.0, 0.0])


def test_self_repeats_the_case() -> None:
    cases = hood()
    mixture = mixed(Self(), cases, [2, 0, 1])
    assert mixture.parent_image_id.tolist() == ["c0", "c0", "c2"]
    assert np.array_equal(mixture.levels_SLD, cases.levels_MLD[[0, 0, 2]])
    assert mixture.neighbour_ids_SK.tolist() == [["c0"], ["c0"], ["c2"]]
    assert mixture.weights_SK.tolist() == [[1.0], [1.0], [1.0]]


def test_neighbours_are_a_convex_mix_of_neighbours_alone() -> None:
    cases = hood(1)
    mixture = mixed(Neighbours(), cases, [4])
    assert mixture.neighbour_ids_SK.tolist() == [["", "n00", "n01"]] * 4
    weights = mixture.weights_SK[1, 1:]
    expected = weights[0] * cases.neighbour_levels_MKLD[0, 0] + weights[1] * cases.neighbour_levels_MKLD[0, 1]
    cosine = (expected * mixture.levels_SLD[1]).sum(-1) / (
        np.linalg.norm(expected, axis=-1) * np.linalg.norm(mixture.levels_SLD[1], axis=-1)
    )
    assert cosine == pytest.approx(1.0)
    norms = np.linalg.norm(cases.neighbour_levels_MKLD[0], axis=-1)
    assert np.linalg.norm(mixture.levels_SLD[1], axis=-1) == pytest.approx(weights @ norms, rel=1e-5)


def test_a_single_nearest_neighbour_is_taken_as_it_is() -> None:
    cases = hood(2)
    mixture = mixed(Neighbours(nearest=1), cases, [1, 1])
    assert mixture.neighbour_ids_SK.tolist() == [["", "n00", ""], ["", "n10", ""]]
    assert mixture.levels_SLD == pytest.approx(cases.neighbour_levels_MKLD[:, 0], rel=1e-5)


def test_alpha_sets_how_even_the_shares_are() -> None:
    cases = hood(1, k=4)
    even = mixed(Neighbours(alpha=1000.0), cases, [200]).weights_SK[:, 1:]
    peaked = mixed(Neighbours(alpha=0.01), cases, [200]).weights_SK[:, 1:]
    assert np.abs(even - 0.25).max() < 0.06
    assert np.median(peaked.max(axis=1)) > 0.99


def test_shares_that_underflow_go_to_the_nearest() -> None:
    mixture = mixed(Neighbours(alpha=1e-6), hood(1, k=2), [20])
    assert mixture.weights_SK.sum(axis=1) == pytest.approx(1.0)
    assert [0.0, 1.0, 0.0] in mixture.weights_SK.tolist()


def test_interpolate_lies_on_the_arc_at_the_recorded_share() -> None:
    cases = hood(1)
    mixture = mixed(Interpolate(low=0.2, high=0.4), cases, [30])
    for sample in range(30):
        share = mixture.weights_SK[sample, 1]
        assert 0.2 <= share <= 0.4
        neighbour = int(str(mixture.neighbour_ids_SK[sample, 1])[-1])
        for level in range(2):
            own, other = cases.levels_MLD[0, level], cases.neighbour_levels_MKLD[0, neighbour, level]
            point = mixture.levels_SLD[sample, level]
            assert angle(own, point) == pytest.approx(share * angle(own, other), rel=1e-3)
            expected = (1 - share) * np.linalg.norm(own) + share * np.linalg.norm(other)
            assert np.linalg.norm(point) == pytest.approx(expected, rel=1e-5)
    assert {str(name) for name in mixture.neighbour_ids_SK[:, 1]} == {"n00", "n01"}


def test_boundary_goes_toward_the_other_class() -> None:
    cases = hood(2)
    mixture = mixed(Boundary(low=0.2, high=0.4), cases, [8, 8])
    assert mixture.neighbour_ids_SK.tolist() == [["c0", "o0"]] * 8 + [["c1", "o1"]] * 8
    assert cases.other_levels_MKLD is not None
    for sample, case in enumerate([0] * 8 + [1] * 8):
        share = mixture.weights_SK[sample, 1]
        assert 0.2 <= share <= 0.4
        own, other = cases.levels_MLD[case], cases.other_levels_MKLD[case, 0]
        expected = slerp(own.astype(np.float64), other.astype(np.float64), share)
        assert mixture.levels_SLD[sample] == pytest.approx(expected, rel=1e-5)
    shares = mixed(Boundary(low=0.2, high=0.4), cases, [400, 0]).weights_SK[:, 1]
    assert (shares.min(), shares.max(), shares.mean()) == pytest.approx((0.2, 0.4, 0.3), abs=0.01)


def test_a_case_without_another_class_is_mixed_with_its_own() -> None:
    cases = hood(3, k=2, missing={2: 2}, alone=(1, 2))
    drawn = mixed(Boundary(low=0.3), cases, [9, 9, 2])
    assert set(drawn.neighbour_ids_SK[:9, 1].tolist()) == {"o0"}
    assert set(drawn.neighbour_ids_SK[9:18, 1].tolist()) == {"n10", "n11"}
    assert drawn.weights_SK[18:].tolist() == [[1.0, 0.0]] * 2
    without = dataclasses.replace(cases, other_ids_MK=None)
    with pytest.raises(
        ValueError, match=r"asked for neighbours of another class \(wants_other\) and got none"
    ):
        mixed(Boundary(), without, [1, 1, 1])


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))))


@pytest.mark.parametrize("policy", [Neighbours(), Interpolate(low=0.5)])
def test_a_case_without_neighbours_is_conditioned_on_itself(policy: Any) -> None:
    cases = hood(2, missing={1: 2})
    mixture = mixed(policy, cases, [1, 2])
    assert mixture.levels_SLD[1:] == pytest.approx(cases.levels_MLD[[1, 1]], rel=1e-5)
    assert mixture.weights_SK[1, 0] == 1.0
    assert [name for name in mixture.neighbour_ids_SK[1].tolist() if name] == ["c1"]
    without = hood(2, k=0)
    assert mixed(policy, without, [1, 1]).levels_SLD == pytest.approx(without.levels_MLD)


def test_missing_neighbours_are_never_drawn() -> None:
    cases = hood(1, k=3, missing={0: 2})
    drawn = mixed(Interpolate(low=0.5), cases, [20])
    assert {str(name) for name in drawn.neighbour_ids_SK[:, 1]} == {"n00"}
    assert mixed(Neighbours(), cases, [3]).weights_SK.tolist() == [[0.0, 1.0, 0.0, 0.0]] * 3


@pytest.mark.parametrize("name", registry.names("mixing"))
@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    lacking=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    order=st.permutations(range(4)),
    seed=st.integers(0, 5),
)
def test_every_mixing_policy(
    name: str, counts: list[int], lacking: list[int], order: list[int], seed: int
) -> None:
    policy = registry.make("mixing", {"name": name})
    cases = hood(
        4, k=3, missing=dict(enumerate(lacking)), alone=tuple(m for m in range(4) if lacking[m] == 1)
    )
    mixture = mixed(policy, cases, counts, seed)
    assert len(mixture.levels_SLD) == sum(counts)
    assert mixture.parent_image_id.tolist() == [f"c{m}" for m, n in enumerate(counts) for _ in range(n)]
    assert mixture.levels_SLD.dtype == np.float32
    assert np.isfinite(mixture.levels_SLD).all()
    assert mixture.weights_SK.sum(axis=1) == pytest.approx(1.0)
    assert ((mixture.neighbour_ids_SK != "") == (mixture.weights_SK > 0)).all()
    shuffled = Neighbourhood(
        **{field: getattr(cases, field)[order] for field in Neighbourhood.__dataclass_fields__}
    )
    again = mixed(policy, shuffled, [counts[m] for m in order], seed)
    for parent in cases.image_id:
        here, there = mixture.parent_image_id == parent, again.parent_image_id == parent
        assert np.array_equal(mixture.levels_SLD[here], again.levels_SLD[there])
        assert np.array_equal(mixture.weights_SK[here], again.weights_SK[there])
