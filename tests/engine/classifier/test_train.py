"""Fits learn, resume in the same bits, go on from earlier weights, and agree over two workers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.multiprocessing import start_processes

from engine.artifacts import classifier_fit
from engine.classifier.inputs import ImageRows, normalise, to_unit
from engine.classifier.snapshot import Snapshot
from engine.classifier.targets import target_probabilities
from engine.classifier.train import FitJob, make_plan, run_job, starting_model
from engine.classifier.weights import load_classifier, read_meta
from engine.config import ClassifierConfig, JudgeConfig
from engine.errors import DataError
from engine.training.plan import TrainEnv, balanced_weights, draw_rows
from engine.training.set_aside import seal
from tests.fakes import blob
from tests.processes import CONTEXT

CLASSES = ("bkl", "mel", "nv")


def make_job(folder: Path, n: int = 36, **changes) -> FitJob:
    """Write n learnable 16 px blobs and return a small fit on them that leaves its files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    labels = np.arange(n, dtype=np.int64) % 3
    if n:
        np.save(folder / "images.npy", np.stack([blob(int(c), 3, 16, rng)[0] for c in labels]))
    settings = {"model": "test_resnet", "steps": 10, "batch_size": 8, "checkpoint_every": 4, **changes}
    config = ClassifierConfig(**settings)
    return FitJob(
        images=ImageRows.of(folder / "images.npy", np.arange(n, dtype=np.int64)),
        labels_N=labels,
        classes=CLASSES,
        image_size=16,
        config=config,
        plan=make_plan(config, "fit", 0),
        augment="classical",
        weights=folder / "classifier.safetensors",
        checkpoint=folder / "checkpoint",
        report=folder,
    )


def losses(job: FitJob) -> list[float]:
    return list(classifier_fit.read(job.report).losses)


def test_plan_follows_the_section_unless_told():
    plan = make_plan(JudgeConfig(steps=7, lr=0.1, ema=0.5, grad_clip=None), "judge", 3)
    assert (plan.steps, plan.lr, plan.ema, plan.grad_clip, plan.seed) == (7, 0.1, 0.5, None, 3)
    again = make_plan(ClassifierConfig(), "c", 0, steps=9, lr=0.2)
    assert (again.steps, again.lr) == (9, 0.2)


def test_fit_learns_and_writes_its_files(tmp_path):
    job = make_job(tmp_path, steps=30, lr=3e-3)
    run_job(job, TrainEnv())
    assert np.mean(losses(job)[-5:]) < 0.6 * np.mean(losses(job)[:5])
    assert read_meta(job.weights).classes == CLASSES
    assert classifier_fit.read(job.report).optimizer_steps == 30


def test_synthetic_images_may_be_normalised_apart(tmp_path):
    """Extreme synthetic images leave the running statistics alone when they are normalised by themselves."""
    added = np.arange(36) >= 24
    means = {}
    for name, split in (("split", True), ("joint", False)):
        job = make_job(tmp_path / name, steps=6, mix={"share": 0.5, "split_batchnorm": split})
        images = np.load(job.images.files[0])
        images[24:] = 255
        np.save(job.images.files[0], images)
        job = replace(job, mix=job.config.mix, added_N=added, synthetic_N=added)
        run_job(job, TrainEnv())
        weights = load_file(job.weights)
        means[name] = torch.cat([v for k, v in weights.items() if k.endswith("running_mean")])
    assert means["split"].shape == means["joint"].shape
    assert not torch.allclose(means["split"], means["joint"])


class KilledError(Exception):
    """Stands for a kill."""


def test_killed_fit_resumes_in_the_same_bits(tmp_path):
    whole, killed = make_job(tmp_path / "whole"), make_job(tmp_path / "killed")
    run_job(whole, TrainEnv())

    def progress(what, done, total):
        if done == 7:
            raise KilledError

    with pytest.raises(KilledError):
        run_job(killed, TrainEnv(progress=progress))
    assert len(list(killed.checkpoint.glob("checkpoint-00000004-*.safetensors"))) == 1
    assert not killed.weights.exists()
    seen = []
    run_job(killed, TrainEnv(progress=lambda what, done, total: seen.append(done)))
    assert seen == [5, 6, 7, 8, 9, 10], "the four steps of the checkpoint are not run again"
    assert killed.weights.read_bytes() == whole.weights.read_bytes()
    assert losses(killed) == losses(whole)


def test_report_is_optional(tmp_path):
    job = make_job(tmp_path, steps=1)
    run_job(replace(job, report=None), TrainEnv())
    assert job.weights.exists()
    assert not (job.report / "classifier.json").exists()


def test_going_on_starts_from_the_earlier_weights(tmp_path):
    first = make_job(tmp_path / "first")
    run_job(first, TrainEnv())
    still = make_job(tmp_path / "still", steps=1, ema=0.0, lr=1e-12, weight_decay=0.0)
    run_job(replace(still, init=first.weights), TrainEnv())
    before, after = load_file(first.weights), load_file(still.weights)
    learned = [k for k in before if "running" not in k and "num_batches" not in k]
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in learned)


def test_going_on_with_another_model_is_refused(tmp_path):
    first = make_job(tmp_path / "first", steps=1)
    run_job(first, TrainEnv())
    other = make_job(tmp_path / "other", model="resnet10t")
    with pytest.raises(
        DataError, match=r"holds test_resnet .* but this fit is resnet10t .*train it from scratch"
    ):
        run_job(replace(other, init=first.weights), TrainEnv())


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(DataError, match="fit: there are no images to train on"):
        run_job(make_job(tmp_path, n=0), TrainEnv())


def taught(job: FitJob) -> FitJob:
    """The same fit with soft labels and weights on the last third of its images, which an arm has added."""
    added = np.arange(len(job.labels_N)) >= 2 * len(job.labels_N) // 3
    soft = np.random.default_rng(1).dirichlet(np.ones(3), len(job.labels_N))
    soft[~added] = np.nan
    return replace(
        job,
        targets_NC=target_probabilities(job.labels_N, soft, job.config.label_smoothing),
        loss_weight_N=np.where(added, 0.25, 1.0),
        mix=job.config.mix,
        added_N=added,
        synthetic_N=added,
    )


def one_hot(job: FitJob) -> FitJob:
    """The same fit, its classes written as soft labels and its weights as ones."""
    none = np.full((len(job.labels_N), 3), np.nan)
    targets = target_probabilities(job.labels_N, none, job.config.label_smoothing)
    return replace(job, targets_NC=targets, loss_weight_N=np.ones(len(job.labels_N)))


MIX = {"share": 0.5, "finish_on_real": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"mix": MIX}, {"mix": {**MIX, "split_batchnorm": True}}, {"label_smoothing": 0.0}]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_hot_labels_and_weights_of_1_change_nothing_but_rounding(tmp_path, changes, accumulate):
    found = {}
    for name, write in (("classes", lambda job: job), ("one_hot", one_hot)):
        job = taught(make_job(tmp_path / name, steps=4, **changes))
        plan = replace(job.plan, accumulate=accumulate)
        job = write(replace(job, plan=plan, targets_NC=None, loss_weight_N=None))
        run_job(job, TrainEnv())
        found[name] = losses(job)
    assert found["one_hot"] == pytest.approx(found["classes"], rel=1e-3)
    assert found["one_hot"][0] == pytest.approx(found["classes"][0], rel=1e-6)


def test_the_first_loss_by_hand(tmp_path):
    job = replace(taught(make_job(tmp_path, steps=1)), augment="none", mix=None)
    run_job(job, TrainEnv())
    rows = draw_rows(balanced_weights(job.labels_N, job.config.balance), job.plan, 0)
    assert {0.25, 1.0} == set(job.loss_weight_N[rows])
    model, meta = starting_model(job)
    x = normalise(to_unit(job.images.open().take(rows), "cpu"), meta.mean, meta.std)
    with torch.no_grad():
        log_p = model.train()(x).log_softmax(1).double().numpy()
    by_hand = -(job.targets_NC[rows] * log_p).sum(1) @ job.loss_weight_N[rows] / 8
    assert losses(job)[0] == pytest.approx(by_hand, rel=1e-4)


def test_all_weights_of_one_half_halve_the_first_loss(tmp_path):
    whole, half = make_job(tmp_path / "whole", steps=1), make_job(tmp_path / "half", steps=1)
    run_job(whole, TrainEnv())
    run_job(replace(half, loss_weight_N=np.full(36, 0.5)), TrainEnv())
    assert losses(half)[0] == pytest.approx(losses(whole)[0] / 2, rel=1e-6)


def kill_at(step: int) -> TrainEnv:
    def progress(what, done, total):
        if done == step:
            raise KilledError

    return TrainEnv(progress=progress)


@pytest.mark.slow
@pytest.mark.parametrize("mix", [None, MIX])
def test_a_killed_fit_on_soft_labels_resumes_in_the_same_bits(tmp_path, mix):
    whole, killed = (taught(make_job(tmp_path / name, mix=mix)) for name in ("whole", "killed"))
    run_job(whole, TrainEnv())
    with pytest.raises(KilledError):
        run_job(killed, kill_at(7))
    run_job(killed, TrainEnv())
    assert killed.weights.read_bytes() == whole.weights.read_bytes()
    assert losses(killed) == losses(whole)


def snapped(job: FitJob, step: int) -> FitJob:
    return replace(
        job, snapshot=Snapshot(step=step, weights=job.report / "early.safetensors", identity="a fit")
    )


def test_a_snapshot_holds_the_averaged_weights_of_its_step_and_changes_nothing(tmp_path):
    plain, job = make_job(tmp_path / "plain"), snapped(make_job(tmp_path / "snapped"), 4)
    run_job(plain, TrainEnv())
    run_job(job, TrainEnv())
    assert job.weights.read_bytes() == plain.weights.read_bytes()
    assert job.snapshot.whole
    model, meta = load_classifier(job.snapshot.weights)
    assert meta == read_meta(job.weights)
    checkpoint = load_file(next(job.checkpoint.glob("checkpoint-00000004-*")))
    for name, value in model.state_dict().items():
        assert torch.equal(value, checkpoint[f"ema/{name}"]), name


KILLS = [(4, 9), (5, 9), (8, 9), (10, 9), (5, 7), (8, 4)]
"""The step of the snapshot, and that of the kill."""
SPOILT = ["lost", "damaged", "unsealed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "killed_at", "then"),
    [
        *((step, killed_at, "nothing") for step, killed_at in KILLS),
        *((5, 9, then) for then in SPOILT),
        *(
            pytest.param(*kill, then, marks=pytest.mark.heavy)
            for kill in KILLS
            if kill != (5, 9)
            for then in SPOILT
        ),
    ],
)
def test_a_killed_fit_leaves_the_same_snapshot(tmp_path, whole_snapshots, step, killed_at, then):
    """Killed before or after the snapshot, which is then whole, lost, damaged, or was being written."""
    job = snapped(make_job(tmp_path), step)
    with pytest.raises(KilledError):
        run_job(job, kill_at(killed_at))
    early = job.snapshot.weights
    if early.exists():
        if then == "lost":
            early.unlink()
        if then == "damaged":
            early.write_bytes(early.read_bytes()[:-8] + b"\0" * 8)
        if then == "unsealed":
            early.with_name(early.name + ".seal.json").unlink()
    run_job(job, TrainEnv())
    assert job.snapshot.whole
    assert (early.read_bytes(), job.weights.read_bytes()) == whole_snapshots[step]


@pytest.fixture(scope="module")
def whole_snapshots(tmp_path_factory):
    """Snapshot and weights of fits that nobody killed, by the snapshot's step."""
    found = {}
    for step in (4, 5, 8, 10):
        job = snapped(make_job(tmp_path_factory.mktemp("whole")), step)
        run_job(job, TrainEnv())
        found[step] = (job.snapshot.weights.read_bytes(), job.weights.read_bytes())
    assert len(set(found.values())) == 4
    return found


def test_a_snapshot_of_another_fit_is_made_again(tmp_path, whole_snapshots):
    job = snapped(make_job(tmp_path), 4)
    run_job(job, TrainEnv())
    job.snapshot.weights.write_bytes(b"another")
    seal(job.snapshot.weights, "another fit")
    run_job(job, TrainEnv())
    assert (job.snapshot.weights.read_bytes(), job.weights.read_bytes()) == whole_snapshots[4]


def worker(rank: int, world: int, folder: str, batch: int, soft: bool = False) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    job = make_job(Path(folder) / f"rank{rank}", batch_size=batch)
    if soft:
        job = snapped(taught(job), 4)
    run_job(job, TrainEnv(rank=rank, world=world))
    dist.barrier()  # one worker leaving early aborts the other
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_follow_the_losses_of_one(tmp_path):
    alone = make_job(tmp_path / "alone", batch_size=9)
    run_job(alone, TrainEnv())
    start_processes(worker, (2, str(tmp_path), 9), nprocs=2, start_method=CONTEXT.get_start_method())
    both = json.loads((tmp_path / "rank0" / "classifier.json").read_text())["losses"]
    assert len(both) == 10
    assert np.abs(np.array(both) - losses(alone)).max() < 1e-3
    one, two = load_file(alone.weights), load_file(tmp_path / "rank0" / "classifier.safetensors")
    assert one.keys() == two.keys()
    assert not (tmp_path / "rank1" / "classifier.safetensors").exists()


@pytest.mark.slow
def test_two_workers_follow_the_losses_of_one_on_soft_and_weighted_images(tmp_path):
    """The batch of 9 is cut into 5 and 4: a mean over each worker's own images would not be the global one."""
    alone = snapped(taught(make_job(tmp_path / "alone", batch_size=9)), 4)
    run_job(alone, TrainEnv())
    start_processes(worker, (2, str(tmp_path), 9, True), nprocs=2, start_method=CONTEXT.get_start_method())
    both = json.loads((tmp_path / "rank0" / "classifier.json").read_text())["losses"]
    assert np.abs(np.array(both) - losses(alone)).max() < 1e-3
    one, two = (load_file(tmp_path / name / "early.safetensors") for name in ("alone", "rank0"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[k].float(), two[k].float(), atol=2e-2) for k in one)
    assert not (tmp_path / "rank1" / "early.safetensors").exists()
