"""The best weights by held-out loss are kept and survive a new attempt."""

import json
from contextlib import nullcontext

import pytest
import torch

from engine.diffusion import keep_best
from engine.diffusion.keep_best import KeepBest


class Objective:
    def __init__(self):
        self.model = torch.nn.Linear(1, 1, bias=False)


def watch(folder, losses, monkeypatch, moments=(2, 4, 6, 8), stop=None):
    """Train a weight that equals the number of steps; the held-out loss after each look is given."""
    objective = Objective()
    given = dict(zip(moments, losses, strict=True))
    keeper = KeepBest(objective, [], 0, moments, folder)
    for step in range(1, moments[-1] + 1):
        objective.model.weight.data.fill_(step)
        monkeypatch.setattr(keep_best, "validation_loss", lambda *_, s=step: given[s])
        keeper(step, nullcontext)
        if step == stop:
            return keeper
    return keeper


def test_the_lowest_loss_is_kept(tmp_path, monkeypatch):
    keeper = watch(tmp_path, [0.5, 0.3, 0.4, 0.6], monkeypatch)
    assert keeper.kept == 4
    keeper.restore()
    assert keeper.objective.model.weight.item() == 4.0
    assert json.loads((tmp_path / "validations.json").read_text()) == {"2": 0.5, "4": 0.3, "6": 0.4, "8": 0.6}


def test_of_equal_losses_the_earlier_is_kept(tmp_path, monkeypatch):
    assert watch(tmp_path, [0.4, 0.3, 0.3, 0.3], monkeypatch).kept == 4


def test_a_killed_training_keeps_what_it_had(tmp_path, monkeypatch):
    watch(tmp_path, [0.5, 0.1, 0.4, 0.6], monkeypatch, stop=5)
    keeper = watch(tmp_path, [0.5, 0.1, 0.4, 0.6], monkeypatch)
    assert keeper.kept == 4
    keeper.restore()
    assert keeper.objective.model.weight.item() == 4.0


@pytest.mark.parametrize("loss", [None, float("nan")])
def test_without_a_loss_the_last_weights_stay(tmp_path, monkeypatch, loss):
    keeper = watch(tmp_path, [loss] * 4, monkeypatch)
    keeper.restore()
    assert (keeper.kept, keeper.objective.model.weight.item()) == (None, 8.0)
