"""The sentence as it is read."""

from __future__ import annotations

from engine.study.answer import answer, difference_text
from engine.study.comparison import Difference
from engine.study.verdict import Evidence


def difference(value: float, low: float, high: float) -> Difference:
    return Difference(value=value, low=low, high=high, p_value=None, method="given")


def evidence(**changes: object) -> Evidence:
    fields: dict[str, object] = {
        "protocol": "safe",
        "replicates": 8,
        "against_real": difference(0.042, 0.01, 0.074),
        "against_random": difference(0.03, 0.002, 0.058),
        "specificity": difference(0.0, -0.01, 0.01),
        "melanoma_sensitivity": difference(0.0, -0.01, 0.01),
    }
    return Evidence(**(fields | changes))  # type: ignore[arg-type]


def test_the_sentence_to_the_letter() -> None:
    found = answer(evidence())
    assert found.sentence == (
        "Hard cases changed malignant sensitivity at 90 % specificity by +4.2 points [+1.0, +7.4] against real and "
        "+3.0 points [+0.2, +5.8] against random synthesis: helped."
    )
    assert found.to_json()["verdict"] == "helped"


def test_another_operating_point_is_named() -> None:
    assert "at 92.5 % specificity" in answer(evidence(operating_point=0.925)).sentence


def test_missing_arms_are_named_where_their_figure_would_stand() -> None:
    found = answer(evidence(against_random=None))
    assert found.sentence.endswith(
        "an unknown amount against random synthesis (random was not run): not shown."
    )
    found = answer(evidence(against_real=None))
    assert (
        "by an unknown amount against real (real was not run) and +3.0 points [+0.2, +5.8]" in found.sentence
    )


def test_nothing_to_compare_is_one_short_sentence() -> None:
    found = answer(
        evidence(against_real=None, against_random=None, missing={"endpoint": "no malignant class"})
    )
    assert found.sentence == (
        "How hard cases changed malignant sensitivity at 90 % specificity cannot be told: not shown."
    )
    assert found.reason == "no malignant class"


def test_points() -> None:
    assert difference_text(difference(-0.0512, -0.1, 0.0)) == "-5.1 points [-10.0, +0.0]"
