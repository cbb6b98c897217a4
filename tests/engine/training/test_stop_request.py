"""A request to stop waits for the end of a step; its checkpoint resumes in the same bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from engine.errors import StoppedError
from engine.training.checkpoints import checkpoints_in
from engine.training.loop import train
from engine.training.plan import TrainEnv
from engine.training.stop_request import deferred, is_deferred, request, requested
from tests.engine.training.test_loop import fit, model, noisy_loss, plan


@pytest.mark.parametrize("stop", [0, 6, 9, 11])
def test_a_training_that_is_asked_to_stop_writes_a_checkpoint_of_that_step(tmp_path, stop):
    network = model()

    def loss(rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        if step == stop:
            assert is_deferred()
            request(StoppedError(15))
        return noisy_loss(network, rows, step, generator)

    with pytest.raises(StoppedError):
        train(network, loss, np.ones(20), plan(), TrainEnv(), tmp_path / "stopped")
    assert not is_deferred()
    assert requested() is None
    assert checkpoints_in(tmp_path / "stopped")[0][0] == stop + 1
    whole, losses, _ = fit(tmp_path / "whole")
    again, found, start = fit(tmp_path / "stopped")
    assert (start, found) == (stop + 1, losses)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_a_request_that_nobody_looked_at_is_raised_at_the_end():
    with pytest.raises(StoppedError) as caught, deferred():
        request(StoppedError(1))
    assert (caught.value.name, caught.value.exit_code) == ("SIGHUP", 129)
    assert requested() is None


def test_another_error_is_not_hidden():
    with pytest.raises(ValueError, match="nan"), deferred():
        request(StoppedError(15))
        raise ValueError("nan")
    assert requested() is None
