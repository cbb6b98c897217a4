"""What a training holds in memory, in multiples of its parameters' bytes, measured in a process of its own.

Parameters, gradients, two moments and their average make 5. Nothing that looks at a training, writes it down or takes it up
again may hold a copy of all of them; the bounds leave room for the largest layer and for the allocator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from engine.training.loop import train
from engine.training.plan import CheckpointClock, TrainEnv, TrainPlan

STEADY = 5.0
MARGIN = 0.6

SCRIPT = """
import json, sys, threading, time
from pathlib import Path
import numpy as np
import torch
from torch import nn
from engine.training.checkpoints import save_tensors
from engine.training.loop import train
from engine.training.plan import TrainEnv, TrainPlan

folder, steps, phases = Path(sys.argv[1]), int(sys.argv[2]), {}
now = ["start"]

def anonymous():
    text = Path("/proc/self/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0]) * 1024

def watch():
    while now[0] is not None:
        name = now[0]
        phases[name] = max(phases.get(name, 0), anonymous())
        time.sleep(0.001)

def loss(rows, step, generator):
    now[0] = "step"
    return model(torch.ones(4, 1024)).square().mean()

class Look:
    def looks_at(self, done):
        now[0] = "validation"
        return True

    def __call__(self, done):
        model(torch.ones(4, 1024))
        save_tensors(model.state_dict(), folder / "best.safetensors")
        now[0] = "checkpoint"

warm = nn.Linear(1024, 8)
small = TrainPlan(name="warm", seed=0, steps=2, batch_size=4, lr=1e-3, checkpoint_every=1, ema=0.9)
train(warm, lambda *_: warm(torch.ones(4, 1024)).square().mean(), np.ones(4), small, TrainEnv(), folder / "warm")
base = anonymous()
model = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(24)])
size = sum(p.numel() * 4 for p in model.parameters())
now[0] = "resume"
threading.Thread(target=watch, daemon=True).start()
plan = TrainPlan(name="m", seed=0, steps=steps, batch_size=4, lr=1e-3, checkpoint_every=2, ema=0.9)
train(model, loss, np.ones(4), plan, TrainEnv(), folder, Look())
now[0] = None
print(json.dumps({name: (peak - base) / size for name, peak in phases.items()}))
"""


def peaks(folder: Path, steps: int) -> dict[str, float]:
    """Return the peak of each phase of a training of 96 MiB of parameters."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(steps)],
        check=True, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_neither_a_look_nor_a_checkpoint_nor_a_resume_holds_a_copy_of_all(tmp_path: Path) -> None:
    first, second = peaks(tmp_path, 3), peaks(tmp_path, 5)
    assert first["step"] > STEADY - 0.5, "the measurement sees what a training holds"
    for phase in ("step", "validation", "checkpoint"):
        assert first[phase] < STEADY + MARGIN, first
    assert second["resume"] < STEADY + MARGIN, second
    assert max(second.values()) < STEADY + MARGIN, second


def test_resume_holds_one_tensor_of_the_file_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the whole file is four times the parameters beside what the training holds anyway."""
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(5)])

    def loss(rows: object, step: int, generator: torch.Generator) -> torch.Tensor:
        if step == 3:
            raise KeyboardInterrupt
        return model(torch.ones(2, 4)).square().mean()

    plan = TrainPlan(name="m", seed=0, steps=6, batch_size=2, lr=1e-3, checkpoint_every=3, ema=0.9)
    with pytest.raises(KeyboardInterrupt):
        train(model, loss, np.ones(2), plan, TrainEnv(), tmp_path)
    read: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    class Handle:
        def __init__(self, path: Path, framework: str) -> None:
            self.inner = safe_open(path, framework=framework)

        def __enter__(self) -> Handle:
            self.inner.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self.inner.__exit__(*error)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def get_tensor(self, name: str) -> torch.Tensor:
            value: torch.Tensor = self.inner.get_tensor(name)
            read.append(weakref.ref(value))
            alive.append(sum(one() is not None for one in read))
            return value

    monkeypatch.setattr("engine.training.checkpoints.safe_open", Handle)
    with pytest.raises(KeyboardInterrupt):
        train(model, loss, np.ones(2), plan, TrainEnv(), tmp_path)
    assert len(read) == 10 * (1 + 1 + 3)  # model, average, two moments and a step counter
    assert max(alive) <= 2  # the last one, until its name is given to the next


def test_a_parameter_of_two_names_is_itself_again_after_a_look_at_the_average(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    seen: list[torch.Tensor] = []
    raw: list[torch.Tensor] = []

    class Look:
        def looks_at(self, steps_done: int) -> bool:
            raw.append(model[0].weight.detach().clone())
            return True

        def __call__(self, steps_done: int) -> None:
            seen.append(model[0].weight.detach().clone())

    def loss(*_: object) -> torch.Tensor:
        assert not raw or torch.equal(model[0].weight, raw[-1])
        found: torch.Tensor = model(torch.ones(2, 4)).square().mean()
        return found

    plan = TrainPlan(name="m", seed=0, steps=4, batch_size=2, lr=1e-2, ema=0.9)
    train(model, loss, np.ones(2), plan, TrainEnv(), tmp_path, Look())
    assert not any(torch.equal(one, other) for one, other in zip(raw[1:], seen[1:], strict=True))
    assert torch.equal(model[0].weight, seen[-1])


@pytest.mark.parametrize(("minutes", "written"), [(0.0, [2, 4]), (60.0, [])])
def test_checkpoints_come_no_closer_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, written: list[int]
) -> None:
    steps: list[int] = []
    monkeypatch.setattr("engine.training.loop.save_checkpoint", lambda *args, **_: steps.append(len(args[2])))
    model = nn.Linear(4, 1)
    plan = TrainPlan(name="m", seed=0, steps=6, batch_size=2, lr=1e-2, checkpoint_every=2)
    env = TrainEnv(checkpoint_minutes=minutes)
    train(model, lambda *_: model(torch.ones(2, 4)).square().mean(), np.ones(2), plan, env, tmp_path)
    assert steps == written


def test_the_clock_counts_from_the_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("engine.training.plan.time.monotonic", lambda: now[0])
    clock = CheckpointClock(10.0, since=100.0)
    found = []
    for now[0] in (699.0, 700.0, 1000.0, 1300.0):
        found.append(clock.due())
        if found[-1]:
            clock.restart()
    assert found == [False, True, False, True]
