"""The sentence as it is read."""

from __future__ import annotations

from engine.study.answer import answer, difference_text
from engine.study.comparison import Difference
from engine.study.lesions import Behind
from engine.study.verdict import Evidence, Pair


def difference(value: float, low: float, high: float) -> Difference:
    return Difference(value=value, low=low, high=high, p_value=None, method="given")


LESIONS = {
    figure: Behind(count=200, what="test")
    for figure in ("malignant.sensitivity", "malignant.specificity", "melanoma.sensitivity")
}


def evidence(**changes: object) -> Evidence:
    fields: dict[str, object] = {
        "lesions": LESIONS,
        "draws": dict.fromkeys(LESIONS, 1000),
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


def test_one_lesion_has_no_interval_in_the_sentence_and_no_verdict() -> None:
    one = {**LESIONS, "malignant.sensitivity": Behind(count=1, what="malignant test")}
    found = answer(evidence(against_real=difference(1.0, 1.0, 1.0), lesions=one))
    assert "+100.0 points [too few: 1 lesion] against real" in found.sentence
    assert found.sentence.endswith(": not shown.")
    assert found.reason == (
        "malignant sensitivity rests on 1 malignant test lesion; 20 are the fewest for a claim"
    )


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


def test_other_endpoints_stand_in_the_same_sentence_in_their_own_units() -> None:
    further = {
        "log_loss": Pair(real=difference(-0.052, -0.06, -0.044), random=difference(0.0, -0.01, 0.01)),
        "malignant.mean_sensitivity": Pair(real=difference(0.02, -0.01, 0.05)),
    }
    found = answer(
        evidence(
            figure="malignant.auc",
            against_real=difference(0.012, 0.006, 0.018),
            against_random=difference(0.0019, -0.002, 0.005),
            further=further,
        )
    )
    assert found.sentence == (
        "Hard cases changed malignant AUC by +0.012 [+0.006, +0.018] against real and +0.002 [-0.002, +0.005] against "
        "random synthesis, and log loss (lower is better) by -0.052 [-0.060, -0.044] and +0.000 [-0.010, +0.010], and mean "
        "malignant sensitivity over 80 to 98 % specificity by +2.0 points [-1.0, +5.0] against real: not shown."
    )


def test_where_no_image_was_accepted_nothing_was_tested() -> None:
    """No figure and no interval: two classifiers of one pool differ by chance alone."""
    pools = {"against_real": None, "against_random": None, "none_accepted": True}
    found = answer(evidence(**pools, untested=("real", "random")))
    assert found.sentence == (
        "Nothing was tested, since no synthetic image was accepted and hard trained on the same images as real and random "
        "synthesis: not shown."
    )
    assert found.reason == (
        "nothing was tested against real: no synthetic image was accepted, so hard trained on the same images"
    )
    alone = answer(evidence(**pools, untested=("real",), protocol="leaky"))
    assert "the same images as real: not shown." in alone.sentence and "points" not in alone.sentence


def test_where_random_alone_has_the_pool_of_hard_its_difference_is_not_told() -> None:
    found = answer(evidence(against_random=None, untested=("random",)))
    assert found.sentence == (
        "Hard cases changed malignant sensitivity at 90 % specificity by +4.2 points [+1.0, +7.4] against real, and nothing "
        "was tested against random synthesis, which trained on the same images: not shown."
    )
    assert found.reason == "nothing was tested against random: hard trained on the same images"


def test_pools_that_are_equal_in_some_replicates_are_told() -> None:
    found = answer(evidence(partly="hard and real trained on the same images in 2 of 8 training sets"))
    assert found.reason.endswith("; hard and real trained on the same images in 2 of 8 training sets")
    assert found.verdict == "helped"
