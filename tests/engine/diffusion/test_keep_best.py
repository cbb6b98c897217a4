"""The best weights by held-out loss are kept and survive a new attempt."""

import json
import random

import numpy as np
import pytest
import torch

from engine.diffusion import keep_best
from engine.diffusion.keep_best import KeepBest
from engine.errors import StageError
from engine.training.loop import train
from engine.training.plan import TrainEnv
from engine.training.set_aside import said_in
from tests.engine.training.test_checkpoints import DAMAGES
from tests.engine.training.test_loop import model, noisy_loss, plan


class Objective:
    def __init__(self):
        self.model = torch.nn.Linear(1, 1, bias=False)


def watch(folder, losses, monkeypatch, moments=(2, 4, 6, 8), stop=None):
    """Train a weight that equals the number of steps; the held-out loss after each look is given."""
    objective = Objective()
    given = dict(zip(moments, losses, strict=True))
    keeper = KeepBest(objective, [0], 0, moments, folder)
    for step in range(1, moments[-1] + 1):
        objective.model.weight.data.fill_(step)
        monkeypatch.setattr(keep_best, "validation_loss", lambda *_, s=step: given[s])
        if keeper.looks_at(step):
            keeper(step)
        if step == stop:
            return keeper
    return keeper


def test_the_lowest_loss_is_kept(tmp_path, monkeypatch):
    keeper = watch(tmp_path, [0.5, 0.3, 0.4, 0.6], monkeypatch)
    assert keeper.kept == 4
    keeper.restore()
    assert keeper.objective.model.weight.item() == 4.0
    log = json.loads((tmp_path / "validations.json").read_text())
    assert log["curve"] == {"2": 0.5, "4": 0.3, "6": 0.4, "8": 0.6}
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-00000004.safetensors"]


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


LOSS_AT = {3: 0.5, 9: 0.2, 13: 0.3, 17: 0.4, 20: 0.6}
"""Held-out loss after each look; the weights of step 9 are kept."""


class Trained:
    """A training of 20 steps with checkpoints after 5, 10 and 15, watched by KeepBest; ``stop``: the step that kills it."""

    def __init__(self, folder, monkeypatch, stop=None):
        network, objective = model(), Objective()
        objective.model = network
        keeper = KeepBest(objective, np.arange(2), 0, tuple(LOSS_AT), folder)

        def loss(rows, step, generator):
            if step == stop:
                raise KeyboardInterrupt
            return noisy_loss(network, rows, step, generator)

        class Watch:
            looks_at = keeper.looks_at

            def __call__(self, done):
                monkeypatch.setattr(keep_best, "validation_loss", lambda *_: LOSS_AT[done])
                keeper(done)

        try:
            self.log = train(network, loss, np.ones(20), plan(steps=20), TrainEnv(), folder, Watch())
            keeper.restore()
        except KeyboardInterrupt:
            self.log = None
        self.weights = {name: value.clone() for name, value in network.state_dict().items()}
        self.curve = keeper.curve


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stop", [7, 11, 16, 19])
@pytest.mark.parametrize("kind", ["checkpoint-*", "best-*", "validations.json"])
def test_any_damaged_file_gives_the_result_of_an_uninterrupted_training(
    tmp_path, monkeypatch, damage, stop, kind
):
    whole = Trained(tmp_path / "whole", monkeypatch)
    killed = tmp_path / "killed"
    Trained(killed, monkeypatch, stop=stop)
    for path in sorted(killed.glob(kind))[-1:]:
        damage(path, random.Random(stop))
        assert Trained(killed, monkeypatch).log.losses == whole.log.losses
        assert said_in(killed)
        break
    again = Trained(killed, monkeypatch)
    assert again.curve == whole.curve
    for name, value in whole.weights.items():
        assert torch.equal(value, again.weights[name])


def test_lost_losses_begin_the_training_at_the_start(tmp_path, monkeypatch):
    Trained(tmp_path, monkeypatch, stop=16)
    (tmp_path / "validations.json").unlink()
    assert Trained(tmp_path, monkeypatch).log.resumed_from == 0


def test_lost_weights_go_back_to_before_they_were_made(tmp_path, monkeypatch):
    Trained(tmp_path, monkeypatch, stop=11)
    (tmp_path / "best-00000009.safetensors").unlink()
    assert Trained(tmp_path, monkeypatch).log.resumed_from == 5


def test_weights_that_are_damaged_before_they_are_used_stop_the_stage(tmp_path, monkeypatch):
    keeper = watch(tmp_path, [0.5, 0.3, 0.4, 0.6], monkeypatch)
    (tmp_path / "best-00000004.safetensors").write_bytes(b"")
    with pytest.raises(StageError, match="is damaged; rerun"):
        keeper.restore()
