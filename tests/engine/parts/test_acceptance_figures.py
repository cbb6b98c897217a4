"""The figures of accept.json, by hand: two classes, four images."""

from __future__ import annotations

import numpy as np
import pytest

from engine.artifacts.judge import JudgeFacts
from engine.parts.acceptance_figures import COPY_PERCENTILE, Judged, accept_facts, memorized, rejections
from engine.types import Verdicts, strings


def judged() -> Judged:
    return Judged(
        classes=("mel", "nv"),
        prob_SC=np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]]),
        calibrated_SC=np.full((4, 2), 0.5),
        real_recall_S=np.array([0.5, 0.5, 1.0, np.nan]),
        label_S=np.array([0, 0, 1, 1]),
        nearest_id_S=strings(list("abcd")),
        distance_S=np.array([0.1, 0.2, 0.3, 0.4]),
    )


VERDICTS = Verdicts(
    accepted_S=np.array([True, False, True, False]),
    reason_S=strings(["", "judge: 0.4; nearest: 0.2", "", "judge: 0.7"]),
)


JUDGE = JudgeFacts(
    model="regnetx_002",
    folds=3,
    classes=("mel", "nv"),
    oof_accuracy=0.6,
    oof_recall={"mel": 0.5, "nv": 0.7},
    val_accuracy=0.7,
    val_recall={"mel": 0.5, "nv": None},
    thresholds={"mel": 0.4, "nv": 0.6},
    temperature=1.5,
    val={"accuracy": {"value": 0.7}},
)


def test_agreement_is_of_all_images_and_its_ratio_of_those_with_a_known_recall() -> None:
    facts = accept_facts(judged(), VERDICTS, strings(list("ppqr")), JUDGE, 0.15)
    assert facts.agreement == 0.75
    assert facts.expected_agreement == pytest.approx(2 / 3)
    assert facts.agreement_ratio == pytest.approx(1.0), "2 of 3 agree where real recall is known"
    assert (facts.generated, facts.accepted) == ({"mel": 2, "nv": 2}, {"mel": 1, "nv": 1})
    assert [facts.per_class[dx].agreement for dx in ("mel", "nv")] == [0.5, 1.0]
    assert facts.per_parent == {"mel": [2], "nv": [1, 1]}
    assert [facts.per_class[dx].val_recall for dx in ("mel", "nv")] == [0.5, None]
    assert (facts.judge_temperature, facts.judge_val) == (1.5, {"accuracy": {"value": 0.7}})


def test_an_image_may_fail_several_gates() -> None:
    assert rejections(VERDICTS) == {"judge": 2, "nearest": 1}


def test_copies_come_nearer_than_the_threshold() -> None:
    found = memorized(judged().distance_S, 0.25)
    assert (found.count, found.rate, found.percentile) == (2, 0.5, COPY_PERCENTILE)
    assert memorized(np.zeros(0), 0.25).rate is None


def test_the_judge_s_choice_and_its_probability_of_the_intended_class() -> None:
    assert judged().predicted_S.tolist() == ["mel", "nv", "nv", "nv"]
    assert judged().own_p_S.tolist() == [0.9, 0.4, 0.8, 0.7]
    assert judged().agrees_S.tolist() == [True, False, True, True]
