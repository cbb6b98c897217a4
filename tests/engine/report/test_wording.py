"""Figures as words, and the sentence at the top."""

from __future__ import annotations

import pytest

from engine.report import wording as words


def figure(value: float | None, low: float = 0.0, high: float = 1.0) -> dict[str, float | None]:
    return (
        {"value": value, "low": low, "high": high}
        if value is not None
        else dict.fromkeys(("value", "low", "high"))
    )


def entry(number: int, arm: str, sensitivity: dict, specificity: dict | None = None) -> dict:
    malignant = {
        "n": 45,
        "n_lesions": 28,
        "sensitivity": sensitivity,
        "specificity": specificity or figure(0.9, 0.85, 0.95),
    }
    return {"round": number, "arm": arm, "test": {"malignant": malignant}}


def test_percentages_and_numbers() -> None:
    assert words.percent(0.7821) == "78.2\u00a0%"
    assert words.percent(0.7821, 0) == "78\u00a0%"
    assert words.percent_interval(figure(0.7821, 0.701, 0.853)) == "78.2\u00a0% (70.1–85.3)"
    assert words.number_interval(figure(0.91234, 0.88, 0.9411)) == "0.912 (0.880–0.941)"


@pytest.mark.parametrize("missing", [None, figure(None)])
def test_undefined_figures_are_a_dash(missing: dict | None) -> None:
    assert words.percent_interval(missing) == words.number_interval(missing) == "–"
    assert words.percent(None) == words.p_text(None) == "–"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0001, "< 0.001"), (0.001, "0.001"), (0.0421, "0.042"), (1.0, "1.000")]
)
def test_p_values(p: float, text: str) -> None:
    assert words.p_text(p) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (42.2, "42 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (59.9, "60 s"),
        (3599.6, "1 h 0 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_headline_names_both_intervals_and_proves_nothing() -> None:
    rounds = [
        entry(0, "real", figure(0.5, 0.4, 0.6)),
        entry(1, "real", figure(0.75, 0.65, 0.85), figure(0.88, 0.8, 0.92)),
        entry(1, "hard", figure(0.80, 0.70, 0.90), figure(0.86, 0.79, 0.91)),
    ]
    text = words.headline(rounds)
    assert (
        "In round 1, the classifier trained with synthetic hard cases (hard) recognised 80.0\u00a0% (70.0–90.0) of the 45 "
        "test images (28 lesions)" in text
    )
    assert (
        "against 75.0\u00a0% (65.0–85.0) by the one trained on real images alone (real), each at the operating point fixed "
        "on val" in text
    )
    assert "specificity of 86.0\u00a0% (79.0–91.0) and 88.0\u00a0% (80.0–92.0)" in text
    assert "5.0 percentage points higher; the 95 % intervals overlap" in text
    assert text.endswith("One run with one seed proves no gain, whichever way the difference points.")


def test_a_headline_of_several_seeds_does_not_call_them_one() -> None:
    seeds = {"seeds": {"seeds": [0, 1, 2]}}
    rounds = [entry(1, arm, figure(0.8, 0.7, 0.9)) | seeds for arm in ("real", "hard")]
    text = words.headline(rounds)
    assert "One run with one training set (means of 3 classifier seeds) proves no gain" in text
    assert "one seed" not in text


def test_headline_says_lower_and_apart() -> None:
    rounds = [entry(1, "real", figure(0.9, 0.85, 0.95)), entry(1, "hard", figure(0.7, 0.6, 0.8))]
    assert "20.0 percentage points lower; the 95 % intervals do not overlap" in words.headline(rounds)


def test_headline_says_equal() -> None:
    rounds = [entry(1, "real", figure(0.9)), entry(1, "hard", figure(0.9))]
    assert "equal to a tenth of a percentage point" in words.headline(rounds)


def test_headline_says_when_the_arms_are_of_different_rounds() -> None:
    rounds = [entry(0, "real", figure(0.5)), entry(2, "hard", figure(0.6))]
    assert "(real) in round 0 (not trained in round 2, so not for as many steps)" in words.headline(rounds)


def test_headline_compares_no_intervals_of_too_few_lesions() -> None:
    rounds = [entry(1, "real", figure(0.0, 0.0, 0.0)), entry(1, "hard", figure(1.0, 1.0, 1.0))]
    text = words.headline(rounds)
    assert "100.0 percentage points higher; so few lesions give no interval." in text
    assert "0.0\u00a0% (all 28 lesions alike)" in text


@pytest.mark.parametrize(
    ("rounds", "text"),
    [
        ([], "No round has finished training with synthetic hard cases (hard)"),
        ([entry(0, "real", figure(0.5))], "No round has finished training with synthetic hard cases (hard)"),
        ([entry(1, "hard", figure(0.5))], "No classifier was trained on real images alone (real)"),
        ([entry(1, "real", figure(None)), entry(1, "hard", figure(None))], "is not available"),
    ],
)
def test_headline_without_a_comparison(rounds: list[dict], text: str) -> None:
    assert text in words.headline(rounds)


def test_latest_is_the_highest_round_of_the_arm() -> None:
    rounds = [entry(2, "hard", figure(0.1)), entry(10, "hard", figure(0.2)), entry(11, "real", figure(0.3))]
    assert words.latest(rounds, "hard") is rounds[1]
    assert words.latest(rounds, "mined") is None


def test_a_figure_of_a_metric_object_counts_its_own_lesions() -> None:
    one = {"sensitivity": figure(0.0, 0.0, 0.0), "specificity": figure(1.0, 1.0, 1.0), "n_lesions": 1}
    metrics = {
        "n_lesions": 41,
        "ece": figure(0.05, 0.05, 0.09),
        "nll": figure(0.7, 0.6, 0.8),
        "per_class": {"d.f": one},
    }
    assert words.figure_text(metrics, "per_class.d.f.sensitivity") == "0.0\u00a0% (too few: 1 lesion)"
    assert words.figure_text(metrics, "per_class.d.f.specificity") == "100.0\u00a0% (all 40 lesions alike)"
    assert words.figure_text(metrics, "ece") == "0.050 (too few: 41 lesions)"
    assert words.figure_text(metrics, "log_loss") == "0.700 (0.600–0.800)"
    assert words.figure_text(metrics, "malignant.auc") == "–"
