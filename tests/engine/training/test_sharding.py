"""Moments and average shared out among workers: the same bits and files as where each keeps all, in less memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import start_processes

from engine.config import parse_config
from engine.errors import ConfigError
from engine.training import loop
from engine.training.checkpoints import checkpoints_in
from engine.training.loop import train
from engine.training.optimizers import EIGHT_BIT, moment_bytes
from engine.training.plan import TrainEnv
from engine.training.sharding import Shares, deal
from engine.training.stop_request import request
from engine.training.workers import buckets
from tests.engine.training.test_loop import plan
from tests.engine.training.test_optimizers import WAVES_NF
from tests.processes import CONTEXT

WORLD = 2


def network() -> nn.Module:
    """Frozen, tied and differently laid out parameters, faster ones, and buffers; not as many as divide evenly."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(32, 256),
        nn.BatchNorm1d(256),
        nn.Unflatten(1, (16, 4, 4)),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Flatten(),
        nn.Linear(256, 1),
        nn.Linear(1, 1),
    )
    model[4].weight = model[3].weight
    model[7].requires_grad_(False)
    model[3].bias.lr_scale = 10.0
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def loss(
    model: nn.Module, env: TrainEnv, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator
) -> Tensor:
    found: Tensor = ((model(WAVES_NF[rows])[:, 0] - torch.sin(2 * WAVES_NF[rows, 0])) ** 2).mean()
    return found * env.share_of_mean(len(rows), 64)


@dataclass
class Watch:
    """Writes the averaged weights after two steps."""

    model: nn.Module
    folder: Path

    def looks_at(self, steps_done: int) -> bool:
        return steps_done in (4, 9)

    def __call__(self, steps_done: int) -> None:
        torch.save(self.model.state_dict(), self.folder / f"seen-{steps_done}.pt")


def one_training(rank: int, folder: Path, shares: bool, stop: int | None, optimizer: str) -> None:
    """Train 12 steps; ``stop``: after which step the worker that is not the main one is asked to stop."""
    model, asked = network(), plan(batch_size=64, lr=3e-3, weight_decay=0.01, optimizer=optimizer)
    env = TrainEnv(rank=rank, world=WORLD, shares_state=shares)
    kept: list[torch.optim.Optimizer] = []
    made = loop.make_optimizer
    loop.make_optimizer = lambda *given: kept.append(made(*given)) or kept[-1]  # type: ignore[attr-defined,func-returns-value]

    def watched(rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        if step == stop and rank == 1:
            request(KeyboardInterrupt())
        if step == stop and rank == 0:
            request(KeyboardInterrupt())
        return loss(model, env, rows, step, generator)

    try:
        log = train(model, watched, np.ones(256), asked, env, folder, Watch(model, folder))
    except KeyboardInterrupt:
        return
    finally:
        loop.make_optimizer = made  # type: ignore[attr-defined]
    moments = sum(
        value.nbytes
        for state in kept[0].state.values()
        for name, value in state.items()
        if name in ("exp_avg", "exp_avg_sq")
    )
    torch.save(
        {"weights": dict(model.named_parameters()), "losses": log.losses, "moments": moments},
        folder / f"end-{rank}.pt",
    )


def worker(rank: int, folder: str, asked: list[tuple[str, bool, int | None, str]]) -> None:
    """Make the trainings one after the other: folder, whether shared out, where it is stopped, optimizer."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    for name, *how in asked:
        (Path(folder) / name).mkdir(exist_ok=True)
        dist.barrier()
        one_training(rank, Path(folder) / name, *how)  # type: ignore[arg-type]
    dist.barrier()  # one worker leaving early aborts the other
    dist.destroy_process_group()


TRAININGS: list[tuple[str, bool, int | None, str]] = [
    ("all", False, None, "adamw"),
    ("shared", True, None, "adamw"),
    ("stopped", True, 6, "adamw"),
    ("stopped", True, None, "adamw"),
    ("begun by all", False, 6, "adamw"),
    ("begun by all", True, None, "adamw"),
    ("begun shared", True, 6, "adamw"),
    ("begun shared", False, None, "adamw"),
    ("all, 8 bit", False, None, EIGHT_BIT),
    ("shared, 8 bit", True, 6, EIGHT_BIT),
    ("shared, 8 bit", True, None, EIGHT_BIT),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared_out")
    arguments = (str(folder), TRAININGS)
    start_processes(worker, arguments, nprocs=WORLD, start_method=CONTEXT.get_start_method())
    return folder


def end_of(folder: Path, rank: int = 0) -> dict[str, object]:
    found: dict[str, object] = torch.load(folder / f"end-{rank}.pt")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shared", "stopped", "begun by all", "begun shared", "shared, 8 bit"])
def test_the_same_bits_and_files_as_where_each_worker_keeps_all(trained: Path, name: str) -> None:
    plain = trained / ("all, 8 bit" if "8 bit" in name else "all")
    assert end_of(trained / name)["losses"] == end_of(plain)["losses"]
    for rank in range(WORLD):
        ours, theirs = (end_of(folder, rank)["weights"] for folder in (trained / name, plain))
        assert isinstance(ours, dict) and isinstance(theirs, dict)
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    for step in (4, 9):
        ours, theirs = (torch.load(folder / f"seen-{step}.pt") for folder in (trained / name, plain))
        assert all(torch.equal(ours[key], value) for key, value in theirs.items()), f"average of step {step}"
    newest = checkpoints_in(trained / name)[0][1].name
    assert newest == checkpoints_in(plain)[0][1].name, "the name holds a checksum of all that is in it"


@pytest.mark.slow
def test_a_request_to_stop_leaves_a_checkpoint_of_its_step(trained: Path) -> None:
    """It is gone by now: two newer ones are kept. The steps before it were not made again."""
    names = [path.name for path in trained.joinpath("stopped").glob("checkpoint-*")]
    assert [re.sub(r"-\w{32}\..*", "", name) for name in sorted(names)] == [
        "checkpoint-00000007",
        "checkpoint-00000010",
    ]


@pytest.mark.slow
def test_each_worker_keeps_its_share_alone(trained: Path) -> None:
    parameters = [p for p in network().parameters() if p.requires_grad]
    whole = moment_bytes(parameters, "adamw")
    held = [end_of(trained / "shared", rank)["moments"] for rank in range(WORLD)]
    assert held == [moment_bytes(part, "adamw") for part in deal(parameters, WORLD)]
    assert sum(held) == whole  # type: ignore[call-overload]
    assert end_of(trained / "all")["moments"] == whole


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_parameters_are_dealt_out_evenly_and_in_order(world: int) -> None:
    rng = np.random.default_rng(world)
    parameters = [nn.Parameter(torch.zeros(int(size))) for size in rng.integers(1, 400, 40)]
    parts = deal(parameters, world)
    assert sorted(id(p) for part in parts for p in part) == sorted(id(p) for p in parameters)
    places = {id(p): place for place, p in enumerate(parameters)}
    for part in parts:
        assert (numbers := [places[id(p)] for p in part]) == sorted(numbers)
    sizes = [sum(p.nbytes for p in part) for part in parts]
    assert max(sizes) - min(sizes) <= max(p.nbytes for p in parameters)
    assert [[id(p) for p in part] for part in deal(parameters, world)] == [
        [id(p) for p in part] for part in parts
    ]


@pytest.mark.parametrize(("world", "shares"), [(1, True), (3, False), (9, True)])
def test_nothing_is_shared_out_where_it_is_not_asked_for_or_too_little(world: int, shares: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    env = TrainEnv(rank=world - 1, world=world, shares_state=shares)
    shared = Shares(list(model.parameters()), env)
    assert not shared.shared
    assert list(shared.own_tensors(model)) == list(model.state_dict())
    assert shared.gathered({"a": torch.ones(1)}) == {"a": torch.ones(1)}
    assert [shared.any_of_us(answer) for answer in (True, False)] == [True, False]
    shared.spread()  # needs no other worker


def test_buffers_are_the_main_workers() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    found = [
        Shares(list(model.parameters()), TrainEnv(rank=rank, world=2, shares_state=True)).own_tensors(model)
        for rank in (0, 1)
    ]
    assert sorted([*found[0], *found[1]]) == sorted(model.state_dict())
    assert {name for name, _ in model.named_buffers(prefix="")} <= set(found[0])


def test_what_is_sent_together_fits_a_bucket() -> None:
    parts = deal([nn.Parameter(torch.zeros(100)) for _ in range(12)], 3)
    assert [[len(bucket) for bucket in buckets(part, 800)] for part in parts] == [[2, 2]] * 3


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (
            {"kind": "ray"},
            "backend.shard_optimizer shares out among train workers; give backend.train_workers 2",
        ),
        ({"kind": "ray", "train_workers": 1}, "shares out among train workers"),
        (
            {"kind": "ray", "train_workers": 2, "precision": "fp16"},
            "does not go with precision fp16.*give bf16",
        ),
    ],
)
def test_what_it_cannot_share_is_refused(backend: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({"backend": {**backend, "shard_optimizer": True}})


@pytest.mark.parametrize("workers", [2, [1, 4]])
def test_several_workers_may_share(workers: object) -> None:
    config = parse_config({"backend": {"kind": "ray", "train_workers": workers, "shard_optimizer": True}})
    assert config.backend.shard_optimizer
