"""Questions computed by hand, and the properties every query policy has."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.types import DrawRequest, QueryState
from policies import registry
from policies.base import QueryPolicy
from policies.disagreement import CHUNK, Members, disagreement
from policies.query import Bald, Committee, Entropy, Margin, Random
from tests.policies.questions import CLASSES, asked, ids, unlabelled

PROB = [[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.9, 0.05, 0.05], [0.2, 0.3, 0.5]]
TWO = [[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]]


def test_margin_by_hand() -> None:
    query = asked(Margin(), unlabelled(PROB, total=3))
    assert query.value_N == pytest.approx([0.8, 1.0, 0.15, 0.8])
    assert query.chosen.tolist() == [1, 0, 3]  # u000 and u003 are equal: the earlier name


def test_entropy_by_hand() -> None:
    query = asked(Entropy(), unlabelled([*TWO, [1.0, 0.0, 0.0]], total=2))
    second = -(0.8 * math.log(0.8) + 0.2 * math.log(0.1)) / math.log(3)
    assert query.value_N == pytest.approx([1.5 * math.log(2) / math.log(3), second, 0.0])
    assert query.chosen.tolist() == [0, 1]


def test_bald_and_committee_by_hand() -> None:
    first, second, unsure = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]
    draws = np.array([[unsure, first, first], [unsure, second, unsure]])
    state = unlabelled([unsure, unsure, unsure], total=2, draws_TNC=draws)
    mixed = -0.75 * math.log(0.75) - 0.25 * math.log(0.25) - math.log(2) / 2
    for policy in (Bald(), Committee()):
        query = asked(policy, state)
        assert query.value_N == pytest.approx([0.0, math.log(2), mixed])
        assert query.chosen.tolist() == [1, 2]
    votes = asked(Committee(measure="votes"), state)
    assert votes.value_N == pytest.approx([0.0, math.log(2), 0.0])
    assert votes.chosen.tolist() == [1, 0]
    with pytest.raises(ValueError, match="asked for draws"):
        asked(Bald(), dataclasses.replace(state, draws_TNC=None))


def test_draws_are_scored_alike_in_chunks_and_at_once() -> None:
    draws_TNC = np.random.default_rng(0).dirichlet(np.ones(3), (2, CHUNK + 5))
    assert Members().score(draws_TNC).tolist() == disagreement(draws_TNC).tolist()


def test_one_image_per_group_the_best_one() -> None:
    state = unlabelled(PROB, ["L0", "L0", "L1", "L1"], total=4)
    assert ids(Margin(), state) == ["u001", "u003"]
    alone = unlabelled(PROB, ["", "L0", "", "L0"], total=4)
    assert ids(Margin(), alone) == ["u001", "u000", "u002"]  # unknown groups are groups of their own
    named = unlabelled(PROB, ["", "image:u000", "u000", ""], total=4)
    assert len(ids(Margin(), named)) == 4


SURE = {0: [0.8, 0.1, 0.1], 1: [0.1, 0.8, 0.1], 2: [0.1, 0.1, 0.8]}


def test_balanced_classes_take_turns() -> None:
    prob = [SURE[label] for label in (0, 0, 0, 0, 1, 2, 2)]
    state = unlabelled(prob, total=6)
    assert ids(Margin(), state) == ["u000", "u001", "u002", "u003", "u004", "u005"]
    assert ids(Margin(balanced=True), state) == ["u000", "u004", "u005", "u001", "u006", "u002"]
    known = unlabelled(prob, total=2, labels=[0, 0, 1, 2, 2])  # mel has the fewest labels, then by name
    assert ids(Margin(balanced=True), known) == ["u004", "u000"]
    shared = unlabelled(prob, ["L0", "", "", "", "L0", "", ""], total=9)  # bkl's first question closes mel
    assert ids(Margin(balanced=True), shared) == ["u000", "u005", "u001", "u006", "u002", "u003"]


def test_noise_draws_in_proportion_to_the_softmax_of_the_standardised_value() -> None:
    """One of two is asked; the values are -1 and 1 standard deviations: chances 1 : e^(2 / noise)."""
    for noise in (1.0, 4.0):
        first = np.mean(
            [ids(Margin(noise=noise), unlabelled(TWO, total=1), seed) == ["u000"] for seed in range(600)]
        )
        chance = 1 / (1 + math.exp(-2 / noise))
        assert first == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 600))


def test_images_of_a_group_share_their_noise() -> None:
    state = unlabelled([PROB[0]] * 10, ["L0"] * 9 + ["L1"], total=1)
    often = sum(ids(Margin(noise=1.0), state, seed) == ["u009"] for seed in range(400))
    assert 160 < often < 240


def test_random_takes_groups_equally_often_however_many_images_they_have() -> None:
    state = unlabelled([PROB[0]] * 10, ["L0"] * 9 + ["L1"], total=1)
    for policy in (Random(), Random(noise=2.0)):
        first = Counter(ids(policy, state, seed)[0] for seed in range(400))
        assert 160 < first["u009"] < 240
        assert len(first) == 10
        assert all(5 < count < 50 for name, count in first.items() if name != "u009")  # 22 of each expected


def test_the_value_of_random_is_the_draw_of_the_group() -> None:
    query = asked(Random(), unlabelled([PROB[0]] * 4, ["L0", "L0", "L1", ""], total=3))
    assert query.value_N[0] == query.value_N[1]
    assert len(set(query.value_N.tolist())) == 3 and (np.diff(query.value_N[query.chosen]) < 0).all()


def test_random_balanced_is_fair_among_the_groups_of_a_class() -> None:
    state = unlabelled([SURE[0]] * 3 + [SURE[1]], total=2)
    pairs = Counter(tuple(ids(Random(balanced=True), state, seed)) for seed in range(300))
    assert {second for _, second in pairs} == {"u003"}
    assert all(65 < count < 135 for count in pairs.values()) and len(pairs) == 3


def test_states_whose_columns_differ_in_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"QueryState: fields differ in length"):
        unlabelled(PROB, ["L0"])
    with pytest.raises(ValueError, match=r"QueryState: fields differ in length"):
        unlabelled(PROB, labelled_label_M=np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match=r"QueryState: draws_TNC are of 2 images, not 4"):
        unlabelled(PROB, draws_TNC=np.zeros((5, 2, 3)))


def test_what_query_policies_declare() -> None:
    wanted = {name: registry.make("query", {"name": name}).wanted for name in registry.names("query")}
    assert {name for name, draws in wanted.items() if draws is not None} == {"bald", "committee"}
    assert wanted["committee"] == DrawRequest(kind="committee")
    fifty = registry.make("query", {"name": "bald", "draws": 50, "rate": 0.5})
    assert fifty.wanted == DrawRequest(kind="dropout", count=50, rate=0.5)
    assert isinstance(fifty, QueryPolicy)
    with pytest.raises(ConfigError, match=r"policy\.query\.draws: 1 is out of bounds; it must be at least 2"):
        registry.check("query", {"name": "bald", "draws": 1})


NAMES = registry.names("query")
SPECS: list[dict[str, Any]] = [
    *({"name": name} for name in NAMES),
    *({"name": name, "balanced": True} for name in NAMES),
    *({"name": name, "noise": 1.0, "cooling": 0.5} for name in NAMES),
    {"name": "committee", "measure": "votes"},
    {"name": "typical_then_uncertain", "labels_per_class": 0},
    {"name": "typical_then_uncertain", "clusters": 2, "neighbours": 1, "balanced": True, "noise": 0.5},
]


@st.composite
def query_states(draw: st.DrawFn) -> QueryState:
    """Up to 12 candidates of five groups or of unknown group, some equal in all a policy looks at."""
    count = draw(st.integers(0, 12))
    group = st.sampled_from(["", "L0", "L1", "L2", "L3"])
    rng = np.random.default_rng(draw(st.integers(0, 5)))
    state = unlabelled(
        rng.dirichlet(np.ones(3), count).tolist(),
        draw(st.lists(group, min_size=count, max_size=count)),
        total=draw(st.integers(0, 14)),
        labels=draw(st.lists(st.integers(0, 2), max_size=5)),
        round=draw(st.integers(1, 3)),
    )
    if not count or not draw(st.booleans()):
        return state
    assert state.draws_TNC is not None
    same = np.zeros(count, dtype=np.int64)
    return dataclasses.replace(
        state,
        prob_NC=state.prob_NC[same],
        feature_NF=state.feature_NF[same],
        draws_TNC=state.draws_TNC[:, same],
    )


def reordered(state: QueryState, order: list[int]) -> QueryState:
    columns = {name: getattr(state, name)[order] for name in ("image_id", "group", "prob_NC", "feature_NF")}
    assert state.draws_TNC is not None
    return dataclasses.replace(state, **columns, draws_TNC=state.draws_TNC[:, order])


@pytest.mark.parametrize("spec", SPECS, ids=str)
@settings(max_examples=25, deadline=None)
@given(state=query_states(), data=st.data(), seed=st.integers(0, 9))
def test_every_query_policy(spec: dict[str, Any], state: QueryState, data: st.DataObject, seed: int) -> None:
    policy = registry.make("query", spec)
    query = asked(policy, state, seed)
    groups = [str(group) or f"only {name}" for name, group in zip(state.image_id, state.group, strict=True)]
    assert query.chosen.dtype == np.int64
    assert len(query.chosen) == min(state.total, len(set(groups)))
    assert len({groups[row] for row in query.chosen}) == len(query.chosen)  # IndexError: outside
    assert query.value_N.shape == (len(state),) and np.isfinite(query.value_N).all()
    order = data.draw(st.permutations(range(len(state))))
    again = asked(policy, reordered(state, order), seed)
    assert [order[row] for row in again.chosen] == query.chosen.tolist()
    assert again.value_N.tolist() == query.value_N[order].tolist()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=14), total=st.integers(1, 14))
def test_balanced_questions_differ_by_one_where_no_class_runs_out(
    name: str, labels: list[int], total: int
) -> None:
    state = unlabelled([SURE[label] for label in labels], total=total)
    chosen = asked(registry.make("query", {"name": name, "balanced": True}), state).chosen
    have, found = Counter(labels), Counter(labels[row] for row in chosen)
    free = [found[label] for label in range(len(CLASSES)) if found[label] < have[label]]
    assert max(free, default=0) - min(free, default=0) <= 1
    assert max(found.values()) <= min(free, default=max(found.values())) + 1


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_changes_what_chance_decides(name: str) -> None:
    prob = np.random.default_rng(1).dirichlet(np.ones(3), 30).tolist()
    given_labels = {"labels_per_class": 0} if name == "typical_then_uncertain" else {}  # k-means takes a seed
    for spec in ({"name": name, **given_labels}, {"name": name, "noise": 1.0, **given_labels}):
        policy = registry.make("query", spec)
        found = {tuple(ids(policy, unlabelled(prob, total=9), seed)) for seed in range(5)}
        assert len(found) == (5 if "noise" in spec or name in ("random", "badge") else 1)
        assert ids(policy, unlabelled(prob, total=9), 3) == ids(policy, unlabelled(prob, total=9), 3)
