"""The saved view of an experiment: which lines and columns it has, whose it is, and its address."""

import json

import pytest

from engine.arms import ARMS
from engine.tracking import saved_view

LONGEST = 5_000
"""Characters of an experiment's tag that MLflow kept before 3.17."""


def state(text):
    return saved_view.unpacked(json.loads(text)["state"])


def grown(arms, found=None):
    for arm in arms:
        found = saved_view.with_arm(found, arm, 5) or found
    return found


def test_every_chart_has_a_line_per_arm():
    charts = state(grown(["real", "hard", "random"]))["compareRunCharts"]
    lines = {tuple(chart["selectedMetricKeys"]) for chart in charts}
    assert ("test malignant sensitivity/real", "test malignant sensitivity/hard",
            "test malignant sensitivity/random") in lines  # fmt: skip
    assert len(lines) == len(charts) == 8
    assert {(chart["range"]["yMin"], chart["range"]["yMax"]) for chart in charts} == {(0, 1)}


def test_columns_are_of_arms_that_ran():
    assert state(grown(["hard"]))["selectedColumns"] == [
        "tags.`verdict`",
        "metrics.`test malignant sensitivity/hard`",
        "metrics.`test malignant specificity/hard`",
        "metrics.`test malignant AUC/hard`",
        "metrics.`test balanced accuracy/hard`",
    ]


def test_an_arm_comes_once():
    found = grown(["real", "hard"])
    assert saved_view.with_arm(found, "real", 99) is None


def test_a_view_grows_without_looking_edited():
    envelope = json.loads(grown(["real", "hard"], grown(["random"])))
    assert envelope["createdAt"] == envelope["updatedAt"] == 5


@pytest.mark.parametrize(
    "found",
    [
        "{",
        "[]",
        "null",
        '{"name": "mine"}',
        json.dumps({"createdAt": 1, "updatedAt": 2, "state": saved_view._packed({"arms": []})}),
        json.dumps({"createdAt": 1, "updatedAt": 1, "state": "deflate;AAAA"}),
        '{"createdAt": 1, "updatedAt": 1, "state": "{}"}',
        '{"createdAt": 1, "updatedAt": 1, "state": "["}',
    ],
)
def test_what_somebody_else_wrote_stays(found):
    assert saved_view.with_arm(found, "hard", 5) is None


def test_all_arms_fit_into_a_tag():
    assert len(grown(ARMS)) < LONGEST


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"experiment_id": "7"}', '{"experiment_id": null}', '{"experiment_id": "x&y"}']
)
def test_a_run_without_an_experiment_leads_to_all_of_them(tmp_path, text):
    if text is not None:
        (tmp_path / "mlflow.json").write_text(text)
    assert (
        saved_view.page(tmp_path) == saved_view.page(None) == "/#/experiments?workflowType=machine_learning"
    )


def test_the_address_of_a_run_names_its_experiment_and_view(tmp_path):
    (tmp_path / "mlflow.json").write_text('{"experiment_id": "7", "view": "hardcase"}')
    assert saved_view.page(tmp_path).startswith("/#/experiments/7/runs?viewStateShareKey=hardcase&")
