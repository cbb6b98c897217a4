"""`hardcase power` on runs of one study: what is printed and written, what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.commands.power_command import power
from engine.errors import ConfigError, DataError
from tests.engine.study.fake_study import write_study

ARMS = ("real", "classical", "random", "hard")
NEW = ("malignant.auc", "log_loss")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return write_study(root, arms=ARMS, lesions=300, replicates=5, classifier_seeds=2, primary=NEW)


def said(runs: list[Path], **options: Any) -> tuple[str, dict[str, Any]]:
    console = Console(file=io.StringIO(), width=200)
    found = power(runs, console, **options)
    return console.file.getvalue(), found  # type: ignore[attr-defined]


@pytest.mark.slow
def test_every_endpoint_and_baseline_has_its_row(runs: list[Path], tmp_path: Path) -> None:
    text, found = said(runs, json_path=tmp_path / "power.json")
    assert json.loads((tmp_path / "power.json").read_text()) == found
    assert {(row["figure"], row["baseline"]) for row in found["rows"]} == {
        (figure, arm) for figure in NEW for arm in ("real", "classical", "random")
    }
    assert (found["design"]["training_sets"], found["design"]["seeds"], found["family"]) == (5, 2, 4)
    levels = {row["baseline"]: row["level"] for row in found["rows"]}
    assert levels["real"] == 0.95 and levels["random"] == pytest.approx(1 - 0.05 / 4)
    assert "5 training sets (5 training sets), 2 classifier seeds each, about 120 test lesions" in text
    assert "Log loss (lower is better): hard minus ..." in text and "480 test lesions" in text
    for row in found["rows"]:
        plans = {(plan["seeds"], plan["test_lesions"]): plan["training_sets"] for plan in row["plans"]}
        assert len(plans) == 12 and row["detectable"] > 0
        more = [plans[seeds, 480] or 999 for seeds in (1, 2, 3, 5)]
        assert more == sorted(more, reverse=True), "further seeds never need more training sets"


@pytest.mark.slow
def test_a_larger_effect_is_shown_more_often(runs: list[Path]) -> None:
    small, large = (said(runs, effect=effect, figure="log_loss")[1]["rows"] for effect in (0.01, 0.3))
    for one, other in zip(small, large, strict=True):
        assert one["power"] < other["power"]
        assert one["detectable"] == other["detectable"]
    assert {row["figure"] for row in small} == {"log_loss"}


@pytest.mark.slow
def test_shares_are_printed_in_points(runs: list[Path]) -> None:
    text, _ = said(runs, figure="malignant.sensitivity", effect=0.02)
    assert "training sets that show 2.0 (percentage points) at 80% power" in text


def test_one_seed_per_set_is_told_and_seeds_are_not_planned(tmp_path: Path) -> None:
    text, found = said(write_study(tmp_path, arms=("real", "random", "hard"), lesions=200, replicates=2))
    assert "one seed per training set" in text
    assert all(row["components"]["seeds"] is None for row in found["rows"])
    assert {plan["seeds"] for row in found["rows"] for plan in row["plans"]} == {1}


def test_runs_that_are_too_few_for_a_claim_could_have_shown_nothing(runs: list[Path]) -> None:
    """Four training sets: no chance of a claim, and plans of five or more for the effect."""
    text, found = said(runs[:4], figure="log_loss", effect=0.3)
    assert "4 training sets; 5 are the fewest for a claim: these runs could have shown nothing" in text
    assert {(row["detectable"], row["power"]) for row in found["rows"]} == {(None, 0.0)}
    assert all((plan["training_sets"] or 5) >= 5 for row in found["rows"] for plan in row["plans"])


def test_folds_are_scored_on_lesions_of_their_own(tmp_path: Path) -> None:
    paths = write_study(tmp_path, arms=("real", "random", "hard"), lesions=240, replicates=5, folds=True)
    text, found = said(paths)
    assert found["design"]["kind"] == "cross-validation" and "test lesions per fold" in text
    needed = [
        plan["training_sets"] for row in found["rows"] for plan in row["plans"] if plan["training_sets"]
    ]
    assert all(count % 5 == 0 for count in needed)


def test_arms_of_one_pool_have_no_row(tmp_path: Path) -> None:
    paths = write_study(tmp_path, arms=("real", "random", "hard"), lesions=200, replicates=2, accepted=0)
    with pytest.raises(
        DataError, match="power: hard trained on the same images as real, random: nothing was tested"
    ):
        said(paths)


def test_what_cannot_be_told_is_refused_with_a_remedy(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="power: give two finished run folders or more"):
        said(runs[:1])
    with pytest.raises(ConfigError, match="--effect: must be above 0, got -1"):
        said(runs, effect=-1.0)
    with pytest.raises(ConfigError, match="--effect: must be above 0, got nan"):
        said(runs, effect=float("nan"))
    with pytest.raises(ConfigError, match="--figure: no figure is called 'f1'"):
        said(runs, figure="f1")
    with pytest.raises(DataError, match="is given twice"):
        said([runs[0], runs[0]])
