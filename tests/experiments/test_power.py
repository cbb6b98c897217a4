"""The simulated studies of `hardcase power`: what is planted is there, and a small version finds what it should."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.study.power import Plan, detectable, noise_of
from engine.study.replicates import arm_figures
from experiments import power
from experiments.lib import keeping


def test_a_result_is_kept_with_its_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "RESULTS", tmp_path)
    small = replace(power.DESIGNS["shared"], plan=Plan(replicates=5, seeds=2, lesions=30))
    monkeypatch.setattr(power, "DESIGNS", {"shared": small})
    monkeypatch.setattr(sys, "argv", ["power.py", "--studies", "2", "--draws", "50"])
    power.main()
    found = json.loads((tmp_path / "power" / "result.json").read_text())
    row = found["designs"]["shared"]
    assert row["shown"].keys() == {"value", "low", "high"} and found["studies"] == 2
    assert row["effect"] == pytest.approx(
        detectable(noise_of(small.components, 30, small.plan), small.plan, power.LEVEL)
    )


def test_the_planted_effect_and_components_are_those_of_the_figures() -> None:
    """Without noise hard's log loss lies below the baseline's by the effect, in every set and seed."""
    still = power.Planted(
        training_set=0, seed=0, lesion=0, lesion_set=0, rest=0, plan=Plan(replicates=2, seeds=2, lesions=40)
    )
    for run in power.study(still, 0.05, np.random.default_rng(0)):
        loss = {arm: arm_figures(run, arm, 2, 0).point["log_loss"] for arm in ("hard", "random")}
        assert loss["random"] - loss["hard"] == pytest.approx(0.05, abs=1e-9)
    planted = replace(power.DESIGNS["shared"], plan=Plan(replicates=60, seeds=3, lesions=60))
    estimated = power.estimate(power.study(planted, 0.05, np.random.default_rng(1)), 400, 0)
    assert estimated.training_sets == pytest.approx(planted.components.training_sets, rel=0.6)
    assert estimated.seeds == pytest.approx(planted.components.seeds, rel=0.4)
    assert estimated.lesions == pytest.approx(planted.components.lesions, rel=0.2)


@pytest.mark.heavy
def test_an_effect_called_detectable_is_shown_in_about_four_of_five_studies() -> None:
    """60 studies: by chance alone a share of 0.8 comes out between 0.65 and 0.93 in 99 % of all cases."""
    planted = replace(power.DESIGNS["shared"], plan=Plan(replicates=6, seeds=2, lesions=40))
    found = power.simulate(planted, 60, 800, seed=3)
    assert 0.65 <= found["shown"]["value"] <= 0.93
