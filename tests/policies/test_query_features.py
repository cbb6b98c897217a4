"""Query policies that look at features: questions computed by hand, and held against whole matrices."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.query import Badge, KCenter, TypicalThenUncertain
from policies.query import clusters as of_clusters
from policies.query.clusters import Clusters, cluster, inverse_mean_distance, starts, typicality, unit
from policies.query.distances import CHUNK, products, squared_lengths, squared_to_nearest
from policies.query.typical import of_next_cluster
from tests.policies.questions import asked, ids, line, unlabelled


def test_k_center_by_hand() -> None:
    query = asked(KCenter(), line([1.0, 4.0, 10.0], [0.0], total=3))
    assert query.chosen.tolist() == [2, 1, 0]
    assert query.value_N.tolist() == [1.0, 4.0, 10.0]  # 4 is 4 from 0, 6 from 10
    two = asked(KCenter(), line([4.0, 6.0, 10.0], [0.0], total=2))
    assert two.chosen.tolist() == [2, 0]  # 4 and 6 are 4 away from 0 and 10: the earlier name
    assert two.value_N.tolist() == [4.0, 2.0, 10.0]  # 6 as the next one is 2 from 4


def test_k_center_takes_several_labelled_images_and_none() -> None:
    assert ids(KCenter(), line([1.0, 5.0, 9.0], [0.0, 10.0], total=1)) == ["u001"]
    assert ids(KCenter(), line([0.0, 1.0, 5.0], [], total=2)) == ["u002", "u000"]  # their mean is 2


def test_k_center_keeps_away_from_images_that_were_asked_about_and_have_no_label() -> None:
    state = line([1.0, 9.0], [0.0], total=1)
    assert ids(KCenter(), state) == ["u001"]
    near = line([1.0, 9.0], [0.0], total=1, unlabelled_asked_AF=np.array([[8.5]], np.float32))
    assert ids(KCenter(), near) == ["u000"], "9 is half away from 8.5, 1 is 1 away from 0"


def test_k_center_asks_about_one_image_per_group() -> None:
    state = line([1.0, 9.0, 10.0], [0.0], total=3, group=np.array(["", "L0", "L0"]))
    assert ids(KCenter(), state) == ["u002", "u000"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(2, 12), total=st.integers(1, 12))
def test_k_center_is_at_most_twice_as_far_as_any_other_choice_could_be(
    seed: int, count: int, total: int
) -> None:
    """The greedy choice is 2-optimal: the distance that remains is at most that of the last question."""
    points = np.random.default_rng(seed).integers(0, 50, count).astype(float).tolist()
    query = asked(KCenter(), line(points, [0.0], total=total))
    at_turn = query.value_N[query.chosen]
    assert (np.diff(at_turn) <= 0).all()
    centres = np.array([0.0, *(points[row] for row in query.chosen)])
    left = np.abs(np.array(points)[:, None] - centres).min(axis=1)
    assert left.max() <= at_turn[-1]


def test_distances_in_chunks_are_those_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(CHUNK + 3, 5)), rng.normal(size=(CHUNK + 7, 5))
    assert squared_lengths(rows) == pytest.approx((rows**2).sum(axis=1), rel=1e-5)
    assert products(rows, others[0]) == pytest.approx(rows @ others[0], abs=1e-5)
    few = rng.choice(len(rows), 20, replace=False)
    whole = ((rows[few, None] - others[None]) ** 2).sum(axis=2).min(axis=1)
    assert squared_to_nearest(rows, others)[few] == pytest.approx(whole, abs=1e-4)


def test_badge_by_hand() -> None:
    """p - onehot is (-0.5, 0.3, 0.2) for all, of squared length 0.38; features lie on a line."""
    state = line([1.0, 3.0, -4.0], [], total=3)
    length = math.sqrt(0.38)
    query = asked(Badge(), line([1.0, 3.0, -4.0], [], total=1))
    assert query.chosen.tolist() == [2]  # the largest gradient
    assert query.value_N == pytest.approx([5 * length, 7 * length, 4 * length])
    second = Counter(ids(Badge(), state, seed)[1] for seed in range(600))
    chance = 25 / (25 + 49)
    assert second["u000"] / 600 == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 600))


def test_noise_flattens_the_draws_of_badge() -> None:
    """Gradients of length 1, 3 and 0: noise 1 draws the first by length^2, and the second by distance."""
    state = line([0.0, 1.0, 3.0], [], total=2)
    pairs = Counter(tuple(ids(Badge(noise=1.0), state, seed)) for seed in range(600))
    first = sum(count for (one, _), count in pairs.items() if one == "u001") / 600
    assert first == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / 600))
    after = {two: count for (one, two), count in pairs.items() if one == "u002"}
    chance = 2 / (2 + 3)  # u001 is 2 away from u002, u000 is 3 away
    found = after["u001"] / sum(after.values())
    assert found == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / sum(after.values())))


def test_images_of_a_group_compete_as_one_in_badge() -> None:
    """After the image at 9 come nine equal ones of a group, 9 away, and one of another, 9 away: each group half the time."""
    state = line([9.0, *[0.0] * 10], [], total=2, group=np.array(["", *["L0"] * 9, "L1"]))
    second = sum(ids(Badge(), state, seed)[1] == "u010" for seed in range(400))
    assert 160 < second < 240


def test_badge_asks_about_equal_images_last() -> None:
    state = line([5.0, 5.0, 1.0, 1.5], [], total=4)
    for seed in range(20):
        assert ids(Badge(), state, seed)[0] == "u000"
        assert ids(Badge(), state, seed)[3] == "u001"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), total=st.integers(1, 8))
def test_badge_has_the_distances_of_the_outer_products(seed: int, total: int) -> None:
    prob = np.random.default_rng(seed).dirichlet(np.ones(3), 10)
    state = unlabelled(prob.tolist(), total=total, seed=seed)
    query = asked(Badge(), state, seed)
    error = prob - np.eye(3)[prob.argmax(axis=1)]
    gradient = (error[:, :, None] * state.feature_NF[:, None, :]).reshape(10, -1)
    away = np.linalg.norm(gradient[:, None] - gradient[query.chosen], axis=2)
    for row in range(10):
        if row not in query.chosen:
            assert query.value_N[row] == pytest.approx(away[row].min(), rel=1e-3, abs=1e-3)
    for turn, row in enumerate(query.chosen.tolist()):
        before = away[row, :turn].min() if turn else np.linalg.norm(gradient[row])
        assert query.value_N[row] == pytest.approx(before, rel=1e-3, abs=1e-3)


def circle(degrees: list[float], labelled: list[float], **changes: Any) -> Any:
    """Candidates and labelled images at angles of a circle of radius 3: lengths do not count."""
    radians, known = np.radians(degrees), np.radians(labelled)
    return unlabelled(
        [[0.5, 0.3, 0.2]] * len(degrees),
        labels=[0] * len(labelled),
        feature_NF=3 * np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32),
        labelled_feature_MF=np.stack([np.cos(known), np.sin(known)], axis=1).astype(np.float32),
        **changes,
    )


AROUND = [-10.0, -6.0, -2.0, 0.0, 2.0, 6.0, 10.0]
"""Seven angles, the fourth in the middle: its two nearest are 2 degrees away, others' farther on average."""


def test_typical_images_by_hand() -> None:
    """Clusters around 0 (with a label), 90 and 180 degrees: the middle of the two without a label is asked about."""
    degrees = [*AROUND, *(90 + angle for angle in AROUND), *(180 + angle for angle in AROUND[1:])]
    policy = TypicalThenUncertain(neighbours=2)
    for seed in range(5):
        query = asked(policy, circle(degrees, [1.0], total=2), seed)
        assert query.chosen.tolist() == [10, 16]  # 90 and 180 degrees: the larger cluster first
        chord = 2 * math.sin(math.radians(1))
        assert query.value_N[10] == pytest.approx(1 / (chord + 1e-5), rel=1e-3)


def test_a_cluster_that_was_asked_about_is_covered_without_a_label() -> None:
    degrees = [*AROUND, *(90 + angle for angle in AROUND), *(180 + angle for angle in AROUND)]
    policy = TypicalThenUncertain(neighbours=2)
    asked_at = circle([91.0], [], total=1).feature_NF
    query = asked(policy, circle(degrees, [1.0], total=1, unlabelled_asked_AF=asked_at))
    assert query.chosen.tolist() == [17], "180 degrees: the one part without label or question"


def test_the_switch_counts_labels_per_class() -> None:
    prob = [[0.9, 0.05, 0.05]] * 7 + [[0.5, 0.4, 0.1]]
    state = circle([*AROUND, 90.0], [0.0] * 6, total=1, prob_NC=np.array(prob))
    assert ids(TypicalThenUncertain(labels_per_class=2), state) == ["u007"]  # 6 labels, 3 classes
    assert ids(TypicalThenUncertain(labels_per_class=2.1, clusters=1, neighbours=2), state) == ["u003"]


def test_the_next_cluster_by_hand() -> None:
    found = Clusters(
        cluster_N=np.array([0, 1, 2, 3, 3]), size_J=np.array([5, 9, 8, 8]), labelled_J=np.array([0, 2, 1, 1])
    )
    covered, rows = found.labelled_J, np.arange(5)
    assert of_next_cluster(rows, found, covered).tolist() == [2]  # 0 is small; 2 and 3 equal
    assert of_next_cluster(rows, found, covered + np.array([0, 0, 1, 0])).tolist() == [3, 4]
    assert of_next_cluster(rows, found, covered + np.array([0, 0, 2, 2])).tolist() == [1]
    assert of_next_cluster(np.array([0]), found, covered).tolist() == [0]
    larger = Clusters(cluster_N=found.cluster_N, size_J=np.array([5, 9, 8, 9]), labelled_J=found.labelled_J)
    assert of_next_cluster(rows, larger, covered).tolist() == [3, 4]


def test_typicality_looks_at_other_groups_alone() -> None:
    right = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=np.float32)
    same, rng = np.zeros(4, dtype=np.int64), np.random.default_rng(0)
    alone = typicality(right, same, np.arange(4), 1, rng)
    apart = [1 / 1e-5, 1 / 1e-5, 1 / (math.sqrt(2) + 1e-5)]
    assert alone[:3] == pytest.approx(apart, rel=1e-6)
    grouped = typicality(right, same, np.array([0, 0, 1, 2]), 1, rng)
    assert grouped[:2] == pytest.approx([apart[2], apart[2]], rel=1e-6)
    assert typicality(right, np.array([0, 0, 1, 2]), np.array([0, 0, 1, 2]), 1, rng).tolist() == [0.0] * 4
    assert typicality(right[:0], same[:0], same[:0], 1, rng).tolist() == []


def test_a_small_cluster_compares_with_half_its_candidates() -> None:
    """Angles 0, 60, 90, 180 degrees: the nearest two of 0 are at chords 1 and sqrt 2, the third at 2 does not count."""
    radians = np.radians([0.0, 60.0, 90.0, 180.0])
    points = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    value = typicality(points, np.zeros(4, dtype=np.int64), np.arange(4), 20, np.random.default_rng(0))
    assert value[0] == pytest.approx(1 / ((1 + math.sqrt(2)) / 2 + 1e-5), rel=1e-5)


def test_inverse_mean_distance_by_hand() -> None:
    square = np.array([[4.0, 1.0, np.inf], [np.inf, 9.0, np.inf], [np.inf] * 3], dtype=np.float32)
    assert inverse_mean_distance(square, 2) == pytest.approx([1 / 1.50001, 1 / 3.00001, 0.0])
    assert inverse_mean_distance(square, 1) == pytest.approx([1 / 1.00001, 1 / 3.00001, 0.0])


def test_a_large_cluster_compares_with_some_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    points, rng = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32), np.random.default_rng(0)
    same, groups = np.zeros(300, dtype=np.int64), np.arange(300)
    whole = typicality(points, same, groups, 5, rng)
    monkeypatch.setattr(of_clusters, "COMPARED", 150)
    part = typicality(points, same, groups, 5, rng)
    assert (part[np.arange(300)] < whole * 1.001).all() and (part > 0).all()
    assert np.corrcoef(whole, part)[0, 1] > 0.6


def test_clusters_count_labelled_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_clusters, "FITTED", 60)  # centres are fitted on a sample, all are assigned
    axes = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=np.float32)
    ours, labelled = np.repeat(axes[:2], [50, 30], axis=0), np.repeat(axes[1:], [5, 12, 13], axis=0)
    found = cluster(ours, labelled, 4, np.random.default_rng(0))
    sizes = sorted(zip(found.size_J.tolist(), found.labelled_J.tolist(), strict=True))
    assert sizes == [(12, 12), (13, 13), (35, 5), (50, 0)]
    assert len(set(found.cluster_N[:50].tolist())) == len(set(found.cluster_N[50:].tolist())) == 1
    one = cluster(ours, ours[:0], 1, np.random.default_rng(0))
    assert (one.size_J.tolist(), one.labelled_J.tolist()) == ([80], [0])


def test_starts_are_different_images() -> None:
    axes = np.eye(4, dtype=np.float32).repeat([30, 3, 3, 1], axis=0)
    for seed in range(5):
        found = starts(axes, 4, np.random.default_rng(seed))
        assert sorted(found.tolist()) == sorted(np.eye(4).tolist())


def test_unit_keeps_rows_of_zeros() -> None:
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0.0, 0.0],
    ]
