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
from engine.classifier.inputs import ImageRows
from engine.classifier.train import FitJob, make_plan, run_job
from engine.classifier.weights import read_meta
from engine.config import ClassifierConfig, JudgeConfig
from engine.errors import DataError
from engine.training.plan import TrainEnv
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


def worker(rank: int, world: int, folder: str, batch: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    run_job(make_job(Path(folder) / f"rank{rank}", batch_size=batch), TrainEnv(rank=rank, world=world))
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
