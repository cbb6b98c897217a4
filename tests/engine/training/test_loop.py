"""The training loop: seeded batches, resume in the same bits, divergence, learning rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import start_processes

from engine.errors import StageError
from engine.training import loop
from engine.training.checkpoints import checkpoints_in
from engine.training.loop import train
from engine.training.plan import (
    TrainEnv,
    TrainPlan,
    balanced_weights,
    draw_rows,
    learning_rate,
    step_generator,
)
from engine.training.workers import BUCKET, average_gradients, bucket_bytes, buckets
from tests.engine.planning.allocated import most_allocated
from tests.processes import CONTEXT

X_NF = torch.linspace(-1, 1, 40).reshape(20, 2)
Y_N = X_NF @ torch.tensor([2.0, -1.0]) + 0.5


def plan(**changes: object) -> TrainPlan:
    settings: dict[str, object] = {
        "name": "fit", "seed": 3, "steps": 12, "batch_size": 8, "lr": 0.05, "checkpoint_every": 5, "ema": 0.9,
    }  # fmt: skip
    return TrainPlan(**(settings | changes))  # type: ignore[arg-type]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def noisy_loss(
    network: nn.Module, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator
) -> Tensor:
    noise = 0.01 * torch.randn(1, generator=generator)
    return ((network(X_NF[rows])[:, 0] - Y_N[rows] + noise) ** 2).mean()


def fit(folder: Path, **changes: object) -> tuple[nn.Module, list[float], int]:
    network = model()
    log = train(network, partial(noisy_loss, network), np.ones(20), plan(**changes), TrainEnv(), folder)
    return network, log.losses, log.resumed_from


def test_batches_may_be_drawn_by_a_function_of_the_step(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def loss(rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        seen.append(rows.tolist())
        return noisy_loss(network, rows, step, generator)

    network = model()
    train(network, loss, lambda step: np.full(8, step), plan(steps=3), TrainEnv(), tmp_path)
    assert seen == [[0] * 8, [1] * 8, [2] * 8]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    _, losses, _ = fit(tmp_path, steps=60)
    assert losses[-1] < 0.2 * losses[0]


def test_a_killed_training_resumes_in_the_same_bits(tmp_path: Path) -> None:
    whole, losses, _ = fit(tmp_path / "whole")
    network = model()

    def dies(rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        if step == 7:
            raise KeyboardInterrupt
        return noisy_loss(network, rows, step, generator)

    with pytest.raises(KeyboardInterrupt):
        train(network, dies, np.ones(20), plan(), TrainEnv(), tmp_path / "killed")
    resumed, again, start = fit(tmp_path / "killed")
    assert start == 5
    assert again == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_a_warning_brings_a_checkpoint_of_its_step(tmp_path: Path) -> None:
    """A machine is about to go at step 3, long before the next checkpoint."""
    network = model()
    env = TrainEnv(warned=iter([False, False, True, *[False] * 7]).__next__)
    long = plan(steps=10, checkpoint_every=100)
    train(network, partial(noisy_loss, network), np.ones(20), long, env, tmp_path)
    assert [steps for steps, _ in checkpoints_in(tmp_path)] == [3]


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    network = model()

    def explodes(rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        return noisy_loss(network, rows, step, generator) * (float("nan") if step == 8 else 1.0)

    with pytest.raises(StageError, match="nan at step 8"):
        train(network, explodes, np.ones(20), plan(), TrainEnv(), tmp_path)
    assert len(list(tmp_path.glob("checkpoint-00000005-*.safetensors"))) == 1


@dataclass(frozen=True)
class Sliced:
    """An objective that slices its draws by its environment, as those of VAE and denoiser do."""

    network: nn.Module
    env: TrainEnv

    def __call__(self, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        noise = 0.1 * torch.randn(8, generator=generator)[torch.from_numpy(self.env.shard(np.arange(8)))]
        loss: Tensor = ((self.network(X_NF[rows])[:, 0] - Y_N[rows] + noise) ** 2).mean()
        return loss * self.env.share_of_mean(len(rows), 8)


@pytest.mark.parametrize("pieces", [2, 3, 8, 11])
def test_a_batch_in_pieces_gives_the_gradients_of_the_whole(tmp_path: Path, pieces: int) -> None:
    found = []
    for count in (1, pieces):
        network = model()
        asked = plan(accumulate=count)
        log = train(
            network, Sliced(network, TrainEnv()), np.ones(20), asked, TrainEnv(), tmp_path / str(count)
        )
        found.append((log.losses, network.weight.detach().clone()))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_resumes(tmp_path: Path, precision: str) -> None:
    env = TrainEnv(precision=precision)
    runs = []
    for steps_first in (None, 7):
        network = model()
        if steps_first is not None:
            with pytest.raises(KeyboardInterrupt):
                train(
                    network, partial(_stop_at, network, steps_first), np.ones(20), plan(), env, tmp_path / "b"
                )
        folder = tmp_path / ("a" if steps_first is None else "b")
        log = train(network, partial(noisy_loss, network), np.ones(20), plan(), env, folder)
        runs.append(log.losses)
    assert runs[0] == runs[1]
    assert runs[0][-1] < runs[0][0]
    single, _, _ = fit(tmp_path / "c")
    # fp16 finds its scale by skipping the first steps whose gradients overflow
    assert torch.allclose(network.weight, single.weight, atol=0.05 if precision == "bf16" else 0.2)


def _stop_at(
    network: nn.Module, last: int, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator
) -> Tensor:
    if step == last:
        raise KeyboardInterrupt
    return noisy_loss(network, rows, step, generator)


@dataclass
class Watching:
    """Notes the first weight at the steps ``at``, by default at every one."""

    network: nn.Module
    at: tuple[int, ...] | None = None
    seen: list[tuple[int, float]] = field(default_factory=list)

    def looks_at(self, steps_done: int) -> bool:
        return self.at is None or steps_done in self.at

    def __call__(self, steps_done: int) -> None:
        self.seen.append((steps_done, next(self.network.parameters()).flatten()[0].item()))


def test_a_watcher_sees_every_step_and_the_averaged_weights(tmp_path: Path) -> None:
    network = model()
    plain, watched, raw = model(), Watching(network), []

    def loss(rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        raw.append(network.weight[0, 0].item())
        return noisy_loss(network, rows, step, generator)

    train(network, loss, np.ones(20), plan(), TrainEnv(), tmp_path / "a", watched)
    assert [done for done, _ in watched.seen] == list(range(1, 13))
    assert watched.seen[-1][1] == network.weight[0, 0].item()  # the model ends with its average
    assert all(one != average for one, (_, average) in zip(raw[1:], watched.seen, strict=False))
    train(plain, partial(noisy_loss, plain), np.ones(20), plan(), TrainEnv(), tmp_path / "b")
    assert torch.equal(plain.weight, network.weight), "a look changes nothing"


def test_a_watcher_is_called_where_it_looks(tmp_path: Path) -> None:
    network = model()
    watched = Watching(network, at=(3, 12))
    train(network, partial(noisy_loss, network), np.ones(20), plan(), TrainEnv(), tmp_path, watched)
    assert [done for done, _ in watched.seen] == [3, 12]


def test_uniform_weights_show_every_example_once_an_epoch() -> None:
    rows = np.concatenate([draw_rows(np.ones(20), plan(batch_size=5), step) for step in range(8)])
    assert sorted(rows[:20]) == list(range(20))
    assert sorted(rows[20:]) == list(range(20))
    assert list(rows[:20]) != list(rows[20:])


def test_weights_draw_in_proportion() -> None:
    rows = np.concatenate([draw_rows(np.array([1.0, 3.0, 0.0]), plan(batch_size=100), s) for s in range(40)])
    shares = np.bincount(rows, minlength=3) / len(rows)
    assert shares == pytest.approx([0.25, 0.75, 0.0], abs=0.03)


@pytest.mark.parametrize(
    ("balance", "expected"), [(0.0, [1, 1, 1]), (1.0, [0.5, 0.5, 1]), (0.5, [0.5**0.5, 0.5**0.5, 1])]
)
def test_balanced_weights_are_powers_of_the_class_count(balance: float, expected: list[float]) -> None:
    assert balanced_weights(np.array([0, 0, 1]), balance) == pytest.approx(expected)


def test_learning_rates() -> None:
    assert learning_rate(plan(lr_schedule="constant"), 3) == 0.05
    assert learning_rate(plan(lr_schedule="cosine", steps=2), 0) == pytest.approx(0.05 * 0.5 * (1 + 2**-0.5))
    cycle = [learning_rate(plan(steps=100), step) for step in range(100)]
    assert max(cycle) == pytest.approx(0.05, rel=1e-3)
    assert 28 <= int(np.argmax(cycle)) <= 31
    assert cycle[-1] < 0.001 * 0.05 * 1.5


def test_step_generators_depend_on_the_step_alone() -> None:
    first = torch.randn(3, generator=step_generator(1, "a", 2))
    assert torch.equal(first, torch.randn(3, generator=step_generator(1, "a", 2)))
    assert not torch.equal(first, torch.randn(3, generator=step_generator(1, "a", 3)))


def _worker(rank: int, world: int, folder: str, most: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    loop.average_gradients = partial(average_gradients, most=most)  # type: ignore[attr-defined]
    network = model()
    env = TrainEnv(rank=rank, world=world)

    def loss(rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        return noisy_loss(network, rows, step, generator) * env.share_of_mean(len(rows), plan().batch_size)

    log = train(network, loss, np.ones(20), plan(), env, Path(folder) / f"checkpoint{rank}")
    if rank == 0:
        np.save(Path(folder) / "losses.npy", np.array(log.losses))
    dist.barrier()  # one worker leaving early aborts the other
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "most"), [(2, BUCKET), (3, 4)], ids=["2", "3, a bucket per parameter"])
def test_several_workers_agree_with_one(tmp_path: Path, workers: int, most: int) -> None:
    start_processes(
        _worker, (workers, str(tmp_path), most), nprocs=workers, start_method=CONTEXT.get_start_method()
    )
    _, losses, _ = fit(tmp_path / "one")
    assert np.load(tmp_path / "losses.npy") == pytest.approx(losses, abs=1e-5)


def test_buckets_hold_all_parameters_in_order_and_no_more_than_asked() -> None:
    parameters = [nn.Parameter(torch.zeros(size)) for size in (3, 1, 9, 2, 2, 1)]
    found = list(buckets(parameters, 4 * 5))
    assert [[p.numel() for p in bucket] for bucket in found] == [[3, 1], [9], [2, 2, 1]]
    assert [id(p) for bucket in found for p in bucket] == [id(p) for p in parameters]
    assert list(buckets([], 8)) == []


def test_beside_the_gradients_lies_one_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", lambda flat: flat.mul_(3.0))
    parameters = [nn.Parameter(torch.zeros(1000)) for _ in range(12)]
    for number, parameter in enumerate(parameters):
        parameter.grad = torch.full((1000,), float(number))
    held = most_allocated(lambda: average_gradients(parameters, 3, most=16_000))
    assert 16_000 <= held < 17_000
    assert [float(p.grad[0]) for p in parameters if p.grad is not None] == list(range(12))


def test_the_largest_bucket_is_at_most_the_largest_parameter_or_the_bound() -> None:
    with torch.device("meta"):
        small, big = nn.Linear(1024, 1024), nn.Linear(4096, 4096)
    many = [small] * 40
    assert bucket_bytes([p for layer in many for p in layer.parameters()]) <= BUCKET
    assert bucket_bytes([*small.parameters(), *big.parameters()]) == 4 * 4096**2
