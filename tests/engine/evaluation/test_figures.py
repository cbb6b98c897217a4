"""Figures in words, and which way each is better."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.config.loop_sections import PrimaryFigure
from engine.evaluation.figures import (
    FIGURES,
    LOWER_IS_BETTER,
    figure_words,
    in_sentence,
    is_share,
    lower_is_better,
)
from engine.evaluation.scoring import null_split
from engine.tuning.objective import Objective


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_one_of_a_report(name: str) -> None:
    found = null_split(("mel", "nv"))
    for step in name.split("."):
        found = found[step]
    assert set(found) == {"value", "low", "high"}
    assert FIGURES[name].lower == lower_is_better(name) == (Objective(metric=name).mode == "min")


def test_a_study_may_be_planned_on_known_figures_alone() -> None:
    assert set(get_args(PrimaryFigure)) <= set(FIGURES)
    assert set(LOWER_IS_BETTER) <= set(null_split(("mel", "nv")))


def test_words_say_which_way_is_better_and_in_which_unit() -> None:
    assert figure_words("log_loss") == "Log loss (lower is better)"
    assert figure_words("per_class.mel.sensitivity") == "per_class.mel.sensitivity"
    assert in_sentence("malignant.auc", 0.9) == "malignant AUC"
    assert in_sentence("auc", 0.9) == "AUC, mean over classes"
    assert in_sentence("malignant.sensitivity", 0.925) == "malignant sensitivity at 92.5 % specificity"
    assert is_share("malignant.mean_sensitivity") and is_share("per_class.mel.specificity")
    assert not any(map(is_share, ("malignant.auc", "log_loss", "ece", "per_class.mel.auc")))
