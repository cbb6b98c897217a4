"""Names and numbers that go to the tracking server."""

import pytest

from engine.artifacts.report_json import FailedAttempt, RunReport
from engine.tracking.flatten import (
    MAX_PARAM_LENGTH,
    failed_attempts,
    figures_table,
    headline,
    metric_name,
    metrics,
    parameters,
)

REPORT = {
    "round": 2,
    "arm": "hard",
    "n_accepted": 7,
    "n_real": 50,
    "acceptance_rate": 0.5,
    "p_value_vs_round0": None,
    "seconds": {"vae": 1.5},
    "digests": {"vae": "abc"},
    "test": {
        "n": 9,
        "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6},
        "auc": {"value": None, "low": None, "high": None},
        "per_class": {"mel": {"sensitivity": {"value": 1.0, "low": 0.9, "high": 1.0}, "n": 3}},
        "malignant": {"sensitivity": {"value": 0.25, "low": 0.0, "high": 0.5}, "threshold": 0.3, "n": 4},
        "confusion": {"classes": ["mel"], "counts": [[3]]},
        "challenging": {"n": 2, "accuracy": {"value": 0.25, "low": 0.0, "high": 0.5}},
    },
    "val": None,
    "pool": {"arm": "hard", "counts": {"mel": 4}},
}


def test_config_becomes_dotted_text():
    tree = {"a": {"b": 1, "c": None, "d": [1, "x"], "e": {}}, "name": "demo", "on": True}
    assert parameters(tree) == {
        "a.b": "1", "a.c": "null", "a.d": '[1, "x"]', "a.e": "{}", "name": "demo", "on": "true",
    }  # fmt: skip


def test_long_values_are_cut_to_what_mlflow_keeps():
    cut = parameters({"a": "x" * 7000})["a"]
    assert len(cut) == MAX_PARAM_LENGTH
    assert cut.endswith("xxx...")


def test_report_becomes_metrics():
    assert metrics(REPORT) == {
        "n_accepted": 7,
        "n_real": 50,
        "acceptance_rate": 0.5,
        "seconds/vae": 1.5,
        "test/accuracy": 0.5,
        "test/sensitivity/mel": 1.0,
        "test/malignant/sensitivity": 0.25,
        "test/malignant/threshold": 0.3,
        "pool/counts/mel": 4,
    }


def test_the_parent_gets_few_curves_named_so_that_arms_stand_together():
    assert headline(REPORT, main=False) == {
        "test malignant sensitivity/hard": 0.25,
        "training images accepted/hard": 7.0,
    }
    assert headline(REPORT, main=True) == {
        "test malignant sensitivity/hard": 0.25, "training images accepted/hard": 7.0, "test/sensitivity/mel": 1.0
    }  # fmt: skip


def test_the_table_holds_every_figure_with_its_interval():
    assert figures_table(REPORT) == [
        {"part": "test", "figure": name, "value": value, "low": low, "high": high}
        for name, value, low, high in (
            ("accuracy", 0.5, 0.4, 0.6), ("auc", None, None, None), ("per_class.mel.sensitivity", 1.0, 0.9, 1.0),
            ("malignant.sensitivity", 0.25, 0.0, 0.5), ("challenging.accuracy", 0.25, 0.0, 0.5),
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("test/sensitivity/a b-c.d_e", "test/sensitivity/a b-c.d_e"),
        ("n/#1 (odd)", "n/_1 _odd_"),
        ("x" * 300, "x" * 250),
    ],
)
def test_names_hold_only_what_mlflow_allows(name, allowed):
    assert metric_name(name) == allowed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "text", [1, 2], None])
def test_what_is_no_finite_number_is_left_out(value):
    assert metrics({"x": value}) == {}


def test_failed_attempts_become_tags_that_count_them_by_cause():
    attempts = {
        "foundation/vae": (FailedAttempt(cause="worker lost"), FailedAttempt(cause="preempted")),
        "foundation/index": (FailedAttempt(cause="worker lost"),),
    }
    tags = failed_attempts(RunReport(rounds=(), failed_attempts=attempts))
    assert tags == {"failed_attempts.preempted": "1", "failed_attempts.worker_lost": "2"}
    assert failed_attempts(RunReport(rounds=())) == {}
