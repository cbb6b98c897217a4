"""Mining decisions computed by hand, and the properties every mining policy has."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.types import DrawRequest, HardCases, MiningState, Predictions, strings
from policies import registry
from policies.disagreement import Bald, Committee
from policies.mining import (
    Entropy,
    LeastConfidence,
    Loss,
    Margin,
    Misclassified,
    MissedMalignancy,
    Random,
    by_image_id,
)
from policies.stochastic import Power, gumbel
from policies.training_pace import MediumHard, SlowLearner, slow_cluster

Rows = list[tuple[str, str, int, list[float]]]
CLASSES = ("bkl", "mel", "nv")
ROWS = [
    # image_id, lesion, label, probabilities
    ("i1", "L1", 0, [0.7, 0.2, 0.1]),  # right, margin -0.5
    ("i2", "L2", 1, [0.6, 0.3, 0.1]),  # wrong, margin +0.3
    ("i3", "L2", 1, [0.1, 0.1, 0.8]),  # wrong, margin +0.7, same lesion as i2
    ("i4", "L4", 2, [0.45, 0.1, 0.45]),  # a tie goes to the first class: wrong, margin 0
    ("i5", "L5", 2, [0.25, 0.25, 0.5]),  # right, margin -0.25
]


def state(rows: list[tuple[str, str, int, list[float]]], rounds: int = 1) -> MiningState:
    predictions = Predictions(
        image_id=strings([r[0] for r in rows]),
        classes=CLASSES,
        prob_NC=np.array([r[3] for r in rows], dtype=np.float64).reshape(len(rows), 3),
        label_N=np.array([r[2] for r in rows], dtype=np.int64),
        split=strings(["mine"] * len(rows)),
    )
    lesions = strings([r[1] for r in rows])
    draws = np.stack([predictions.prob_NC, np.roll(predictions.prob_NC, 1, axis=1)])  # for policies that ask
    return MiningState(
        predictions=predictions,
        lesion_id=lesions,
        round=rounds,
        malignant=("mel",),
        draws_TNC=draws,
        early=predictions,
    )


def mined(policy: object, rows: list[tuple[str, str, int, list[float]]] = ROWS, seed: int = 0) -> HardCases:
    cases: HardCases = policy.mine(state(rows), np.random.default_rng(seed))  # type: ignore[attr-defined]
    return cases


def test_misclassified_by_hand() -> None:
    cases = mined(Misclassified(per_lesion=False))
    assert cases.image_id.tolist() == ["i3", "i2", "i4"]
    assert cases.true.tolist() == ["mel", "mel", "nv"]
    assert cases.predicted.tolist() == ["nv", "bkl", "bkl"]
    assert cases.score == pytest.approx([0.9, 0.7, 0.55])


def test_one_image_a_lesion_is_the_hardest_one() -> None:
    assert mined(Misclassified()).image_id.tolist() == ["i3", "i4"]


def test_images_of_unknown_lesion_are_lesions_of_their_own() -> None:
    rows = [(image, "", label, prob) for image, _, label, prob in ROWS]
    assert mined(Misclassified(), rows).image_id.tolist() == ["i3", "i2", "i4"]


def test_misclassified_may_find_nothing() -> None:
    cases = mined(Misclassified(), ROWS[:1])
    assert len(cases) == 0
    assert cases.image_id.dtype.kind == "U"


def test_top_k_and_bounds() -> None:
    assert mined(Misclassified(per_lesion=False, top_k=2)).image_id.tolist() == ["i3", "i2"]
    assert mined(Misclassified(per_lesion=False, max_score=0.8)).image_id.tolist() == ["i2", "i4"]
    assert mined(Misclassified(per_lesion=False, min_score=0.6)).image_id.tolist() == ["i3", "i2"]


def test_a_bound_is_applied_before_the_hardest_of_a_lesion_is_chosen() -> None:
    assert mined(Misclassified(max_score=0.8)).image_id.tolist() == ["i2", "i4"]


def test_margin_by_hand() -> None:
    cases = mined(Margin(per_lesion=False))
    assert cases.image_id.tolist() == ["i3", "i2", "i4", "i5", "i1"]
    assert cases.score == pytest.approx([0.7, 0.3, 0.0, -0.25, -0.5])
    assert cases.predicted.tolist() == ["nv", "bkl", "bkl", "nv", "bkl"]
    assert mined(Margin(per_lesion=False, min_score=0.0)).image_id.tolist() == ["i3", "i2", "i4"]


def test_entropy_by_hand() -> None:
    rows = [("a", "A", 0, [1.0, 0.0, 0.0]), ("b", "B", 0, [1 / 3] * 3), ("c", "C", 0, [0.5, 0.5, 0.0])]
    cases = mined(Entropy(), rows)
    assert cases.image_id.tolist() == ["b", "c", "a"]
    assert cases.score == pytest.approx([1.0, math.log(2) / math.log(3), 0.0])


def test_least_confidence_by_hand() -> None:
    cases = mined(LeastConfidence(per_lesion=False, top_k=3))
    assert cases.image_id.tolist() == ["i4", "i5", "i2"]
    assert cases.score == pytest.approx([0.55, 0.5, 0.4])


def test_loss_by_hand() -> None:
    rows = [*ROWS[:3], ("i9", "L9", 2, [1.0, 0.0, 0.0])]
    cases = mined(Loss(per_lesion=False), rows)
    assert cases.image_id.tolist() == ["i9", "i3", "i2", "i1"]
    assert cases.score == pytest.approx([-math.log(1e-12), -math.log(0.1), -math.log(0.3), -math.log(0.7)])
    assert mined(Loss(per_lesion=False, max_score=5.0), rows).image_id.tolist() == ["i3", "i2", "i1"]


def test_ties_go_by_image_id() -> None:
    rows = [(name, name, 0, [0.2, 0.5, 0.3]) for name in ("z", "b", "k")]
    assert mined(Loss(), rows).image_id.tolist() == ["b", "k", "z"]


def test_missed_malignancy_by_hand() -> None:
    cases = mined(MissedMalignancy(per_lesion=False))
    # mel: 10 (1 - p_mel); others: p_mel
    assert cases.image_id.tolist() == ["i3", "i2", "i5", "i1", "i4"]
    assert cases.score == pytest.approx([9.0, 7.0, 0.25, 0.2, 0.1])
    assert mined(MissedMalignancy(per_lesion=False, miss_cost=1, false_alarm_cost=4)).image_id.tolist() == [
        "i5", "i3", "i1", "i2", "i4",
    ]  # fmt: skip


def test_missed_malignancy_needs_malignant_classes() -> None:
    benign = dataclasses.replace(state(ROWS), malignant=("scc",))
    with pytest.raises(ConfigError, match=r"data\.malignant names none of bkl, mel, nv"):
        MissedMalignancy().mine(benign, np.random.default_rng(0))


def test_medium_hard_averages_the_loss_over_rounds_and_takes_a_band() -> None:
    now = state(ROWS)  # p_true: i1 0.7, i2 0.3, i3 0.1, i4 0.45, i5 0.5
    before = dataclasses.replace(
        now.predictions, prob_NC=np.array([[0.7, 0.2, 0.1], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8],
                                           [0.25, 0.25, 0.5]])
    )  # fmt: skip
    given_state = dataclasses.replace(
        now, history=(before.take(np.array([4, 3, 2, 1, 0])),)
    )  # in another order
    mean = {
        "i1": -math.log(0.7), "i2": -(math.log(0.3) + math.log(0.05)) / 2, "i3": -math.log(0.1),
        "i4": -(math.log(0.45) + math.log(0.8)) / 2, "i5": -math.log(0.5),
    }  # fmt: skip
    cases = MediumHard(per_lesion=False, low=0.5, high=0.75).mine(given_state, np.random.default_rng(0))
    assert cases.image_id.tolist() == ["i2", "i5"]  # by mean loss: i1 < i4 < i5 < i2 < i3
    assert cases.score == pytest.approx([mean["i2"], mean["i5"]])
    with pytest.raises(ValueError, match=r"low 0.9 must be below high 0.5"):
        MediumHard(low=0.9, high=0.5)


def drawn(rows: list[tuple[str, str, int, list[float]]], draws: list[list[list[float]]]) -> MiningState:
    return dataclasses.replace(state(rows), draws_TNC=np.array(draws))


def test_bald_and_committee_by_hand() -> None:
    rows = ROWS[:3]
    draws = [[[1, 0, 0], [0.5, 0.5, 0], [1, 0, 0]], [[0, 1, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]]]
    rng = np.random.default_rng(0)
    # i1: draws sure and contrary, log 2; i2: draws agree that nobody knows, 0; i3: H(3/4, 1/4) - log(2) / 2
    third = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) - math.log(2) / 2
    for policy in (Bald(per_lesion=False), Committee(per_lesion=False)):
        cases = policy.mine(drawn(rows, draws), rng)
        assert cases.image_id.tolist() == ["i1", "i3", "i2"]
        assert cases.score == pytest.approx([math.log(2), third, 0.0], abs=1e-9)
    votes = Committee(per_lesion=False, measure="votes").mine(drawn(rows, draws), rng)
    assert votes.image_id.tolist() == [
        "i1",
        "i2",
        "i3",
    ]  # ties go to the first class: i2 and i3 are unanimous
    assert votes.score == pytest.approx([math.log(2), 0.0, 0.0])


def test_policies_say_which_draws_they_want() -> None:
    assert Bald(draws=5, rate=0.2).wanted == DrawRequest(kind="dropout", count=5, rate=0.2)
    assert Committee().wanted == DrawRequest(kind="committee")
    with pytest.raises(ValueError, match="asked for draws"):
        Bald().mine(dataclasses.replace(state(ROWS), draws_TNC=None), np.random.default_rng(0))


def test_power_draws_in_proportion_to_a_power_of_the_loss() -> None:
    """Losses log 2 and log 4: chances 1 : 2 at temperature 1, 1 : 4 at 1/2, 1 : sqrt 2 at 2."""
    rows = [("a", "A", 0, [0.5, 0.5, 0.0]), ("b", "B", 0, [0.25, 0.75, 0.0])]
    for temperature, chance in ((1.0, 2 / 3), (0.5, 4 / 5), (2.0, 1 / (1 + 2**-0.5))):
        policy = Power(top_k=1, temperature=temperature)
        first = np.mean([mined(policy, rows, seed).image_id[0] == "b" for seed in range(600)])
        assert first == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 600))


def test_power_scores_are_the_loss_times_chance_and_bounds_hold_the_loss() -> None:
    cases = mined(Power(per_lesion=False, temperature=0.5), seed=3)
    noise = gumbel(np.random.default_rng(3), 5)
    expected = -np.log([0.7, 0.3, 0.1, 0.45, 0.5]) * np.exp(0.5 * noise)
    assert dict(zip(cases.image_id.tolist(), cases.score.tolist(), strict=True)) == pytest.approx(
        dict(zip(["i1", "i2", "i3", "i4", "i5"], expected.tolist(), strict=True))
    )
    for seed in range(20):
        bounded = mined(Power(per_lesion=False, min_score=0.5, max_score=2.0), seed=seed)
        assert sorted(bounded.image_id.tolist()) == ["i2", "i4", "i5"]
        assert (
            "i2" not in mined(Power(), seed=seed).image_id.tolist()
        )  # i3 of the same lesion has the higher loss


def test_power_draws_lesions_not_photographs() -> None:
    rows = [(f"a{view}", "A", 0, [0.5, 0.3, 0.2]) for view in range(9)] + [("b", "B", 0, [0.5, 0.3, 0.2])]
    first = [str(mined(Power(top_k=1), rows, seed).image_id[0]) for seed in range(400)]
    assert 160 < sum(name == "b" for name in first) < 240


def early(rows: Rows, prob: list[list[float]]) -> MiningState:
    """The state of rows, whose early predictions come in another order."""
    given_state = state(rows)
    predictions = dataclasses.replace(given_state.predictions, prob_NC=np.array(prob))
    return dataclasses.replace(given_state, early=predictions.take(np.arange(len(rows))[::-1]))


def test_slow_learner_mines_the_slow_cluster_of_each_class_by_early_loss() -> None:
    rows = [
        *((f"a{n}", f"A{n}", 0, [0.9, 0.05, 0.05]) for n in range(4)),
        *((f"b{n}", f"B{n}", 1, [0.1, 0.8, 0.1]) for n in range(3)),
        ("c", "C", 2, [0.0, 0.0, 1.0]),
    ]
    soon = [
        [0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1],  # two fast, two slow
        [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2],  # one slow
        [0.2, 0.2, 0.6],  # alone: nothing to compare with
    ]  # fmt: skip
    cases = SlowLearner().mine(early(rows, soon), np.random.default_rng(0))
    assert cases.image_id.tolist() == ["a3", "a2", "b0", "c"]
    assert cases.score == pytest.approx([-math.log(0.2), -math.log(0.3), -math.log(0.3), -math.log(0.6)])
    assert cases.predicted.tolist() == ["bkl", "bkl", "mel", "nv"]  # of the fit at its end
    with pytest.raises(ValueError, match=r"asked for early predictions \(its attribute wants_early\)"):
        SlowLearner().mine(dataclasses.replace(state(ROWS), early=None), np.random.default_rng(0))


def test_slow_cluster_by_hand() -> None:
    line = np.array([0.0, 0.1, 0.2, 0.45, 0.9, 1.0])
    prob = np.stack([1 - line, line, np.zeros(6)], axis=1)
    # From 0 and 1, 0.45 joins the low ones; their means are 0.1875 and 0.95, and it stays there.
    assert slow_cluster(prob, line).tolist() == [False] * 4 + [True] * 2
    assert slow_cluster(prob, 1 - line).tolist() == [True] * 4 + [False] * 2
    assert slow_cluster(prob, np.ones(6)).all()
    # From 0 and 1, 0.55 joins the high ones; the mean of 0.55 and 1 is 0.775, that of the others 0.3: 0.5 follows.
    near = np.array([0.0, 0.4, 0.5, 0.55, 1.0])
    prob = np.stack([1 - near, near, np.zeros(5)], axis=1)
    assert slow_cluster(prob, near).tolist() == [False, False, False, True, True]


def test_random_takes_lesions_equally_often_however_often_photographed() -> None:
    rows = [(f"a{view}", "A", 0, [0.5, 0.3, 0.2]) for view in range(9)] + [("b", "B", 0, [0.5, 0.3, 0.2])]
    first = [str(mined(Random(top_k=1), rows, seed).image_id[0]) for seed in range(400)]
    assert 160 < sum(name == "b" for name in first) < 240
    assert len({name for name in first if name != "b"}) == 9
    every = [str(mined(Random(top_k=1, per_lesion=False), rows, seed).image_id[0]) for seed in range(400)]
    assert 20 < sum(name == "b" for name in every) < 60


def test_sorting_the_state_takes_the_draws_along() -> None:
    given_state = state(ROWS[::-1])
    draws = np.stack([given_state.predictions.prob_NC, given_state.predictions.prob_NC * 0])
    with_draws = MiningState(
        predictions=given_state.predictions, lesion_id=given_state.lesion_id, round=1, draws_TNC=draws
    )
    ordered = by_image_id(with_draws)
    assert ordered.predictions.image_id.tolist() == ["i1", "i2", "i3", "i4", "i5"]
    assert ordered.draws_TNC is not None
    assert ordered.draws_TNC[0].tolist() == [row[3] for row in ROWS]


probabilities = st.lists(st.integers(0, 4), min_size=3, max_size=3).map(
    lambda weights: [w / sum(weights) for w in weights] if sum(weights) else [1 / 3] * 3
)


@st.composite
def populations(draw: st.DrawFn) -> Rows:
    """Up to 12 images of six lesions or of unknown lesion."""
    lesions = st.sampled_from(["", "L0", "L1", "L2", "L3", "L4", "L5"])
    return [
        (f"i{index:02d}", draw(lesions), draw(st.integers(0, 2)), draw(probabilities))
        for index in range(draw(st.integers(0, 12)))
    ]


@st.composite
def earlier_rounds(draw: st.DrawFn, rows: Rows) -> tuple[Predictions, ...]:
    """Predictions of up to three earlier rounds on the same images, each round in an order of its own."""
    history = []
    for _ in range(draw(st.integers(0, 3))):
        order = np.array(draw(st.permutations(range(len(rows)))), dtype=np.int64)
        before = state([(image, lesion, label, draw(probabilities)) for image, lesion, label, _ in rows])
        history.append(before.predictions.take(order))
    return tuple(history)


@pytest.mark.parametrize("name", registry.names("mining"))
@settings(max_examples=40, deadline=None)
@given(rows=populations(), data=st.data(), per_lesion=st.booleans(), seed=st.integers(0, 9))
def test_every_mining_policy(name: str, rows: Rows, data: st.DataObject, per_lesion: bool, seed: int) -> None:
    policy = registry.make("mining", {"name": name, "per_lesion": per_lesion, "top_k": 5})
    history = data.draw(earlier_rounds(rows))
    turned = tuple(seen.take(np.arange(len(seen))[::-1]) for seen in history)
    cases, again = (
        policy.mine(dataclasses.replace(state(order), history=earlier), np.random.default_rng(seed))
        for order, earlier in ((rows, history), (data.draw(st.permutations(rows)), turned))
    )
    assert cases.image_id.tolist() == again.image_id.tolist()
    assert cases.score.tolist() == again.score.tolist()
    assert len(set(cases.image_id.tolist())) == len(cases) <= 5
    assert all(np.diff(cases.score) <= 0)
    lesion = {row[0]: row[1] or f"only {row[0]}" for row in rows}
    label = {row[0]: CLASSES[row[2]] for row in rows}
    assert [label[str(i)] for i in cases.image_id] == cases.true.tolist()
    if per_lesion:
        assert len({lesion[str(i)] for i in cases.image_id}) == len(cases)
        if name not in ("misclassified", "medium_hard", "slow_learner"):
            assert len(cases) == min(5, len(set(lesion.values())))


@settings(max_examples=60, deadline=None)
@given(rows=populations(), data=st.data())
def test_medium_hard_scores_by_the_mean_loss_of_all_rounds(rows: Rows, data: st.DataObject) -> None:
    history = data.draw(earlier_rounds(rows))
    given_state = dataclasses.replace(state(rows), history=history)
    policy = MediumHard(per_lesion=False, top_k=None, low=0.0, high=1.0)  # the band holds every image
    cases = policy.mine(given_state, np.random.default_rng(0))
    expected: dict[str, list[float]] = {row[0]: [] for row in rows}
    for seen in (*history, given_state.predictions):
        for image, label, prob in zip(seen.image_id, seen.label_N, seen.prob_NC, strict=True):
            expected[str(image)].append(-math.log(max(prob[label], 1e-12)))
    assert sorted(cases.image_id.tolist()) == sorted(expected)
    for image, score in zip(cases.image_id, cases.score, strict=True):
        assert score == pytest.approx(sum(expected[str(image)]) / (len(history) + 1))
