"""The objective is a figure of val: a wrong name is refused early, an undefined one says what to do."""

from __future__ import annotations

import pytest

from engine.artifacts.report_json import RoundEntry
from engine.errors import ConfigError
from engine.tuning.objective import Objective

ENTRY = RoundEntry(
    round=1,
    arm="hard",
    val={
        "nll": {"value": 0.7},
        "malignant": {"sensitivity": {"value": 0.25}, "auc": {"value": None}},
        "per_class": {"mel": {"sensitivity": {"value": 0.5}}},
    },
    test={"accuracy": {"value": 1.0}},
)


def test_it_reads_val_by_its_dotted_name() -> None:
    assert Objective(metric="malignant.sensitivity").of(ENTRY) == 0.25
    assert Objective(metric="per_class.mel.sensitivity").of(ENTRY) == 0.5


def test_losses_fall_and_rates_rise() -> None:
    assert (Objective(metric="nll").mode, Objective(metric="auc").mode) == ("min", "max")
    assert Objective(metric="brier").better(0.25) == -0.25


@pytest.mark.parametrize(
    "metric", ["test.accuracy", "n", "malignant", "malignant.n_benign", "confusion", "acuracy"]
)
def test_no_other_figure_can_be_asked_for(metric: str) -> None:
    with pytest.raises(ConfigError, match=r"tune.metric: val has no figure .* known: accuracy, auc"):
        Objective(metric=metric)


@pytest.mark.parametrize("metric", ["accuracy", "malignant.auc", "per_class.df.sensitivity"])
def test_an_undefined_figure_is_never_taken_from_test(metric: str) -> None:
    with pytest.raises(ConfigError, match="undefined on val in round 1"):
        Objective(metric=metric).of(ENTRY)
