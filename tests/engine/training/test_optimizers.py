"""Moments in 8 bit: as few bytes as planned, they learn as float32 does, and a killed training ends in the same bits."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from engine import build
from engine.config import parse_config
from engine.errors import ConfigError, StageError
from engine.training import optimizers
from engine.training.checkpoints import checkpoints_in
from engine.training.loop import train
from engine.training.optimizers import (
    EIGHT_BIT,
    STEP_BYTES,
    in_groups,
    load_moments,
    make_optimizer,
    moment_bytes,
    saved_moments,
    set_rate,
    step_bytes,
)
from engine.training.plan import TrainEnv, TrainPlan
from tests.engine.planning.allocated import most_allocated
from tests.engine.training.test_loop import plan

WAVES_NF = torch.randn(256, 32, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    """Two weights of 4,096 values or more, a convolution among them, and three smaller parameters."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(32, 256),
        nn.GELU(),
        nn.Unflatten(1, (16, 4, 4)),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.Flatten(),
        nn.Linear(512, 1),
    )


def loss(
    model: nn.Module, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator
) -> torch.Tensor:
    return ((model(WAVES_NF[rows])[:, 0] - torch.sin(2 * WAVES_NF[rows, 0])) ** 2).mean()


def fit(
    folder: Path,
    until: int | None = None,
    layout: torch.memory_format = torch.contiguous_format,
    **changes: object,
) -> tuple[nn.Module, list[float]]:
    """Train; ``until``: the step at which it dies."""
    model = network().to(memory_format=layout)  # type: ignore[call-overload]

    def dies(rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        if step == until:
            raise KeyboardInterrupt
        return loss(model, rows, step, generator)

    asked = plan(**{"optimizer": EIGHT_BIT, "lr": 3e-3, "batch_size": 64, "weight_decay": 0.01, **changes})
    log = train(model, dies, np.ones(256), asked, TrainEnv(), folder)
    return model, log.losses


def of(optimizer: str) -> TrainPlan:
    return plan(optimizer=optimizer, weight_decay=0.1)


def stepped(model: nn.Module, optimizer: str) -> torch.optim.Optimizer:
    """An optimizer after a step, which makes its moments."""
    made = make_optimizer(in_groups(model.parameters(), of(optimizer)), of(optimizer))
    loss(model, np.arange(64), 0, torch.Generator()).backward()  # type: ignore[no-untyped-call]
    set_rate(made, 1e-3)
    made.step()
    return made


def saved(model: nn.Module, optimizer: str) -> dict[str, Tensor]:
    """What an optimizer saves after a step."""
    return saved_moments(stepped(model, optimizer), in_groups(model.parameters(), of(optimizer)))


@pytest.mark.parametrize("optimizer", ["adamw", "adam", EIGHT_BIT])
def test_moments_hold_as_many_bytes_as_planned(optimizer: str) -> None:
    model = network()
    moments = {k: v for k, v in saved(model, optimizer).items() if not k.endswith("/step")}
    held = sum(tensor.numel() * tensor.element_size() for tensor in moments.values())
    assert held == moment_bytes(model.parameters(), optimizer)
    floats = moment_bytes(model.parameters(), "adamw")
    assert floats == 8 * sum(p.numel() for p in model.parameters())
    assert held == floats if optimizer != EIGHT_BIT else held < 0.5 * floats


def test_a_big_model_needs_a_quarter() -> None:
    with torch.device("meta"):
        big = nn.Linear(4096, 4096)
    share = moment_bytes(big.parameters(), EIGHT_BIT) / moment_bytes(big.parameters(), "adamw")
    assert share == pytest.approx(0.25, abs=0.005)


def test_a_step_works_with_as_many_bytes_as_planned() -> None:
    weight = nn.Parameter(torch.randn(512, 512))
    weight.grad = torch.randn(512, 512)
    optimizer = make_optimizer(in_groups([weight], of(EIGHT_BIT)), of(EIGHT_BIT))
    optimizer.step()
    assert most_allocated(optimizer.step) == pytest.approx(step_bytes([weight], EIGHT_BIT), rel=0.02)
    assert step_bytes([weight], EIGHT_BIT) == STEP_BYTES * 512 * 512
    assert step_bytes([weight], "adamw") == step_bytes([nn.Parameter(torch.zeros(8))], EIGHT_BIT) == 0


def test_it_learns_as_with_float32(tmp_path: Path) -> None:
    _, eight = fit(tmp_path / "8", steps=60)
    _, floats = fit(tmp_path / "32", steps=60, optimizer="adamw")
    assert np.mean(floats[-5:]) < 0.5 * floats[0]
    assert np.mean(eight[-5:]) == pytest.approx(np.mean(floats[-5:]), rel=0.1)
    assert eight != floats


@pytest.mark.faults
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("step", [6, 11])
def test_a_killed_training_ends_in_the_same_bits(
    tmp_path: Path, step: int, layout: torch.memory_format
) -> None:
    whole, losses = fit(tmp_path / "whole", layout=layout)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed", until=step, layout=layout)
    assert checkpoints_in(tmp_path / "killed")
    resumed, again = fit(tmp_path / "killed", layout=layout)
    assert again == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_float32_is_of_another_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "a", until=8, optimizer="adamw")
    with caplog.at_level(logging.WARNING):
        _, losses = fit(tmp_path / "a")
    assert "was made by another plan or model" in caplog.text
    assert losses == fit(tmp_path / "b")[1]


@pytest.mark.parametrize("optimizer", ["adamw", EIGHT_BIT])
def test_what_is_saved_is_all_there_is(optimizer: str) -> None:
    model = network()
    first = stepped(model, optimizer)
    groups = in_groups(model.parameters(), of(optimizer))
    second = make_optimizer(groups, of(optimizer))
    kept = {name: value.clone() for name, value in saved_moments(first, groups).items()}
    load_moments(second, groups, ((name, partial(torch.clone, value)) for name, value in kept.items()))
    for one, other in zip(first.state.values(), second.state.values(), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert type(value) is type(other[name])
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[name])), name


@pytest.mark.parametrize("optimizer", ["adamw", EIGHT_BIT])
def test_rates_are_scaled_per_weight(optimizer: str) -> None:
    slow, fast = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    fast.lr_scale = 10.0  # type: ignore[attr-defined]
    made = make_optimizer(in_groups([slow, fast], plan(optimizer=optimizer)), plan(optimizer=optimizer))
    set_rate(made, 0.02)
    for weight in (slow, fast):
        weight.grad = torch.ones(4)
    made.step()
    assert (1 - slow).tolist() == pytest.approx([0.02] * 4, rel=1e-5)
    assert (1 - fast).tolist() == pytest.approx([0.2] * 4, rel=1e-5)


def without(names: Iterable[str]) -> Any:
    return lambda name, *rest: None if name in set(names) else find_spec(name, *rest)


def test_a_library_that_is_absent_is_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config({"denoiser": {"optimizer": EIGHT_BIT}, "vae": {"optimizer": EIGHT_BIT}})
    assert not [line for line in build.model_problems(config) if "bitsandbytes" in line]
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", without(["bitsandbytes"]))
    lines = [line for line in build.model_problems(config) if "bitsandbytes" in line]
    assert lines == [
        f"{part}.optimizer: adamw8bit needs bitsandbytes; install it with `pip install 'hardcase[big]'`, or give adamw"
        for part in ("vae", "denoiser")
    ]
    assert not [line for line in build.model_problems(parse_config({})) if "bitsandbytes" in line]


def test_a_node_without_the_library_says_what_to_install_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(
        StageError, match=r"fit: adamw8bit needs bitsandbytes.*hardcase\[big\].*on every node"
    ):
        make_optimizer(in_groups(network().parameters(), of(EIGHT_BIT)), of(EIGHT_BIT))


@pytest.mark.parametrize("device", ["mps", "auto"])
def test_a_device_without_it_is_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    asked = {"denoiser": {"optimizer": EIGHT_BIT}}
    config = parse_config({**asked, "backend": {"device": device}})
    line = "denoiser.optimizer: adamw8bit does not run on mps; give adamw"
    assert [one for one in build.model_problems(config) if "adamw8bit" in one] == [line]
    others = [{"backend": {"device": device}}, {**asked, "backend": {"kind": "ray", "gpus_per_worker": 1.0}}]
    for other in others:
        assert not [one for one in build.model_problems(parse_config(other)) if "adamw8bit" in one]


@pytest.mark.parametrize("section", ["classifier", "judge", "embedder", "gan"])
def test_small_parts_refuse_it(section: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{section}.*adamw8bit is for vae and denoiser; give adamw or adam"
    ):
        parse_config({section: {"optimizer": EIGHT_BIT}})
