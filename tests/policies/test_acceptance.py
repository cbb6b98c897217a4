"""Acceptance decisions and their reasons by hand, and the properties every acceptance policy has."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.types import AcceptanceState, strings
from policies import registry
from policies.acceptance import (
    AcceptAll,
    Conjunction,
    Default,
    InDistribution,
    LabelConsistent,
    NotMemorized,
    Reviewed,
)

CLASSES = ("bkl", "mel", "nv")
PROB = [[0.1, 0.8, 0.1], [0.2, 0.12, 0.68], [0.4, 0.5, 0.1], [0.35, 0.33, 0.32]]
LABEL = [1, 1, 1, 0]
DISTANCE = [0.2, 0.012, 0.034, 0.001]


def state(threshold: dict[str, float] | None = None, rows: slice = slice(None)) -> AcceptanceState:
    return AcceptanceState(
        label_S=np.array(LABEL[rows], dtype=np.int64),
        classes=CLASSES,
        judge_prob_SC=np.array(PROB[rows], dtype=np.float64).reshape(-1, 3),
        nearest_train_distance_S=np.array(DISTANCE[rows], dtype=np.float64),
        train_distance_quantiles={1: 0.034, 5: 0.05, 99: 0.3},
        judge_threshold=threshold if threshold is not None else {"mel": 0.5, "bkl": 0.3, "nv": 0.9},
    )


def reasons(policy: Any, given_state: AcceptanceState | None = None) -> list[str]:
    verdicts = policy.accept(given_state or state())
    assert verdicts.accepted_S.dtype == np.bool_
    assert verdicts.accepted_S.tolist() == [reason == "" for reason in verdicts.reason_S.tolist()]
    return list(verdicts.reason_S.tolist())


def test_all_accepts_all() -> None:
    assert reasons(AcceptAll()) == ["", "", "", ""]


def test_in_distribution_rejects_what_lies_off_the_data() -> None:
    bounded = dataclasses.replace(state(), train_distance_quantiles={1: 0.001, 99: 0.034, 95: 0.0119})
    assert reasons(InDistribution(), bounded) == ["support: 0.200 > 0.034", "", "", ""]
    assert reasons(InDistribution(percentile=95), bounded)[1] == "support: 0.0120 > 0.0119"
    with pytest.raises(ConfigError, match=r"policy\.acceptance\.percentile: 99 was not measured"):
        reasons(InDistribution(), dataclasses.replace(state(), train_distance_quantiles={1: 0.034}))
    with pytest.raises(ValueError, match=r"percentile\n.*7 is not one of 1, 5, 25"):
        InDistribution(percentile=7)


def test_reviewed_takes_what_a_person_approved() -> None:
    looked = dataclasses.replace(state(), verdict_S=strings(["accept", "reject", "", "accept"]))
    assert reasons(Reviewed(), looked) == ["", "review: rejected", "review: no verdict yet", ""]
    assert reasons(Reviewed()) == ["review: no verdict yet"] * 4
    both = registry.make("acceptance", {"name": "conjunction", "of": [{"name": "reviewed"}, {"name": "all"}]})
    assert both.wants_review  # type: ignore[attr-defined]
    assert reasons(both, looked) == reasons(Reviewed(), looked)
    assert not Conjunction(of=(AcceptAll(),)).wants_review


def test_label_consistent_by_the_judges_own_thresholds() -> None:
    assert reasons(LabelConsistent()) == ["", "judge: mel 0.12 < 0.50", "", ""]


def test_label_consistent_by_one_threshold() -> None:
    assert reasons(LabelConsistent(threshold=0.6)) == [
        "",
        "judge: mel 0.12 < 0.60",
        "judge: mel 0.50 < 0.60",
        "judge: bkl 0.35 < 0.60",
    ]


def test_a_reason_shows_the_difference_that_rounding_would_hide() -> None:
    assert reasons(LabelConsistent(threshold=0.5004))[2] == "judge: mel 0.5000 < 0.5004"


def test_label_consistent_by_argmax() -> None:
    assert reasons(LabelConsistent(mode="argmax")) == ["", "judge: nv, not mel", "", ""]


def test_a_class_without_threshold_is_decided_by_argmax() -> None:
    assert reasons(LabelConsistent(), state({"bkl": 0.36})) == [
        "",
        "judge: nv, not mel",
        "",
        "judge: bkl 0.35 < 0.36",
    ]


def test_not_memorized_rejects_what_is_nearer_than_the_percentile() -> None:
    assert reasons(NotMemorized()) == ["", "memorized: 0.012 < 0.034", "", "memorized: 0.001 < 0.034"]
    assert reasons(NotMemorized(percentile=5))[2] == "memorized: 0.034 < 0.050"


def test_a_percentile_that_was_not_measured_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"policy\.acceptance\.percentile: 25 was not measured; index.json has 1, 5"
    ):
        NotMemorized(percentile=25).accept(state())


def test_conjunction_joins_the_reasons_in_order() -> None:
    both = Conjunction(of=(NotMemorized(), LabelConsistent(mode="argmax")))
    assert reasons(both) == [
        "",
        "memorized: 0.012 < 0.034; judge: nv, not mel",
        "",
        "memorized: 0.001 < 0.034",
    ]


def test_default_is_both_gates() -> None:
    assert reasons(Default()) == [
        "",
        "judge: mel 0.12 < 0.50; memorized: 0.012 < 0.034",
        "",
        "memorized: 0.001 < 0.034",
    ]
    assert reasons(Default(mode="argmax", percentile=5))[1:3] == [
        "judge: nv, not mel; memorized: 0.012 < 0.050",
        "memorized: 0.034 < 0.050",
    ]
    assert reasons(Default(threshold=0.9))[0] == "judge: mel 0.80 < 0.90"


SPECS: list[dict[str, Any]] = [
    {"name": name} for name in registry.names("acceptance") if name != "conjunction"
] + [
    {
        "name": "conjunction",
        "of": [{"name": "label_consistent", "mode": "argmax"}, {"name": "not_memorized"}],
    },
    {"name": "conjunction", "of": [{"name": "reviewed"}, {"name": "in_distribution", "percentile": 5}]},
]


def chosen(whole: AcceptanceState, rows: list[int]) -> AcceptanceState:
    """The images at ``rows`` with all that is known of each: every array of the state has one entry an image."""
    arrays = {
        field.name: value[np.array(rows, dtype=np.int64)]
        for field in dataclasses.fields(whole)
        if isinstance(value := getattr(whole, field.name), np.ndarray)
    }
    return dataclasses.replace(whole, **arrays)


@pytest.mark.parametrize("spec", SPECS)
def test_no_image_gives_no_verdict(spec: dict[str, Any]) -> None:
    assert reasons(registry.make("acceptance", spec), state(rows=slice(0, 0))) == []


@pytest.mark.parametrize("spec", SPECS, ids=str)
@settings(max_examples=30, deadline=None)
@given(
    verdicts=st.none() | st.lists(st.sampled_from(["accept", "reject", ""]), min_size=4, max_size=4),
    rows=st.permutations(range(4)) | st.lists(st.integers(0, 3), max_size=6),
)
def test_every_acceptance_policy_judges_each_image_by_itself(
    spec: dict[str, Any], verdicts: list[str] | None, rows: list[int]
) -> None:
    """Whatever images come with it and in whatever order, an image gets the verdict it gets among all four."""
    policy = registry.make("acceptance", spec)
    whole = state() if verdicts is None else dataclasses.replace(state(), verdict_S=strings(verdicts))
    assert reasons(policy, chosen(whole, rows)) == [reasons(policy, whole)[s] for s in rows]


@settings(max_examples=30, deadline=None)
@given(verdicts=st.lists(st.sampled_from(["accept", "reject", ""]), min_size=4, max_size=4))
def test_reviewed_accepts_what_a_person_accepted_and_nothing_else(verdicts: list[str]) -> None:
    looked = dataclasses.replace(state(), verdict_S=strings(verdicts))
    assert [reason == "" for reason in reasons(Reviewed(), looked)] == [v == "accept" for v in verdicts]
