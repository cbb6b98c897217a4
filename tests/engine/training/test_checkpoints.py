"""Checkpoints: a damaged, half-written or foreign one is set aside and the result is that of an uninterrupted training."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from engine.training import checkpoints
from engine.training.checkpoints import checkpoints_in
from engine.training.loop import train
from engine.training.plan import TrainEnv
from engine.training.set_aside import is_sealed, said_in, seal
from tests.engine.training.test_loop import fit, model, noisy_loss, plan
from tests.processes import Forked

pytestmark = pytest.mark.faults


def killed_at(folder: Path, step: int, **changes: object) -> None:
    """Train until ``step`` is about to be computed, then stop as a kill would."""
    network = model()

    def dies(rows: npt.NDArray[np.int64], now: int, generator: torch.Generator) -> Tensor:
        if now == step:
            raise KeyboardInterrupt
        return noisy_loss(network, rows, now, generator)

    with pytest.raises(KeyboardInterrupt):
        train(network, dies, np.ones(20), plan(**changes), TrainEnv(), folder)


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(1, path.stat().st_size)])


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


DAMAGES = [truncate, empty, flip]


def assert_same(network: nn.Module, other: nn.Module) -> None:
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path, random.Random], None], seed: int
) -> None:
    rng = random.Random(seed)
    whole, losses, _ = fit(tmp_path / "whole", steps=20)
    killed_at(tmp_path / "killed", rng.randrange(11, 20), steps=20)
    (newest, path), (before, _) = checkpoints_in(tmp_path / "killed")
    damage(path, rng)
    with caplog.at_level(logging.WARNING):
        network, again, start = fit(tmp_path / "killed", steps=20)
    assert (start, again) == (before, losses)
    assert_same(network, whole)
    assert len(caplog.messages) == 1
    assert f"step {before} is tried" in caplog.text
    assert path.with_name(path.name + ".damaged").exists()
    assert said_in(tmp_path) == caplog.messages
    assert newest == before + 5


@pytest.mark.parametrize("damage", DAMAGES)
def test_with_all_damaged_the_training_begins_at_the_start(
    tmp_path: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    whole, losses, _ = fit(tmp_path / "whole")
    killed_at(tmp_path / "killed", 11)
    for _, path in checkpoints_in(tmp_path / "killed"):
        damage(path, random.Random(1))
    network, again, start = fit(tmp_path / "killed")
    assert (start, again) == (0, losses)
    assert_same(network, whole)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    killed_at(tmp_path, 19, steps=20, checkpoint_every=3)
    assert [steps for steps, _ in checkpoints_in(tmp_path)] == [18, 15]


@pytest.mark.parametrize(
    "change", [{"steps": 13}, {"lr": 0.04}, {"seed": 4}, {"ema": 0.0}, {"name": "other"}]
)
def test_a_checkpoint_of_another_plan_is_not_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    killed_at(tmp_path / "killed", 7, **change)
    _, losses, _ = fit(tmp_path / "whole")
    _, again, start = fit(tmp_path / "killed")
    assert (start, again) == (0, losses)
    assert "made by another plan or model" in caplog.text


def test_how_often_it_is_written_does_not_matter(tmp_path: Path) -> None:
    killed_at(tmp_path, 11)
    assert fit(tmp_path, checkpoint_every=3)[2] == 10


def test_a_checkpoint_of_another_model_is_not_resumed(tmp_path: Path) -> None:
    killed_at(tmp_path, 11)
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    log = train(other, partial(noisy_loss, other), np.ones(20), plan(), TrainEnv(), tmp_path)
    assert log.resumed_from == 0


def test_a_checkpoint_without_checksum_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"written by an earlier version")
    assert fit(tmp_path)[2] == 0
    assert (tmp_path / "checkpoint.safetensors.damaged").exists()


def fit_until_killed_writing(folder: Path, nth: int) -> None:
    """Train; kill this process when half of the ``nth`` checkpoint is written."""
    count, whole = 0, checkpoints.save_file

    def dies(tensors: object, path: Path, metadata: object = None) -> None:
        nonlocal count
        count += 1
        whole(tensors, path, metadata=metadata)
        if count == nth:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.save_file = dies
    fit(folder)


@pytest.mark.parametrize("nth", [1, 2])
def test_kill_in_the_middle_of_writing(tmp_path: Path, nth: int) -> None:
    process = Forked(tmp_path / "said.txt", fit_until_killed_writing, tmp_path / "killed", nth)
    assert process.wait() == -signal.SIGKILL, process.said()
    whole, losses, _ = fit(tmp_path / "whole")
    network, again, start = fit(tmp_path / "killed")
    assert (start, again) == (5 * (nth - 1), losses)
    assert_same(network, whole)
    assert not list((tmp_path / "killed").glob("*.partial"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("victim", ["fold_0.safetensors", "fold_0.safetensors.seal.json"])
def test_a_sealed_file_is_used_only_while_whole(
    tmp_path: Path, damage: Callable[[Path, random.Random], None], victim: str
) -> None:
    path = tmp_path / "fold_0.safetensors"
    assert not is_sealed(path, "a", "again")
    path.write_bytes(b"weights")
    assert not is_sealed(path, "a", "again")  # its writer died before it was sealed
    seal(path, "a")
    assert is_sealed(path, "a", "again")
    damage(tmp_path / victim, random.Random(2))
    assert not is_sealed(path, "a", "again")


def test_a_sealed_file_of_another_fit_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "fold_0.safetensors"
    path.write_bytes(b"weights")
    seal(path, "a")
    assert not is_sealed(path, "b", "again")
    assert not path.exists()
    assert "was made by another plan or model" in said_in(tmp_path)[0]
