"""The classifier stage: fits the pool, plainly or not, from scratch or going on."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from engine.classifier.weights import load_classifier, read_meta
from engine.config import parse_config
from engine.stages import classifier, pool
from engine.training.plan import TrainEnv
from tests.fakes import make_dataset_folders, run_stage

SECTION = {"model": "test_resnet", "steps": 99, "batch_size": 8, "ema": 0.5}
CONFIG = parse_config({"classifier": SECTION})


@pytest.fixture
def inputs(tmp_path):
    images, split = make_dataset_folders(tmp_path)
    given = {"images": images, "split": split}
    return {**given, "pool": run_stage(pool, tmp_path / "pool", given, pool.Params.of(CONFIG, "real", []))}


def params(arm="real", steps=3, continues=False, **section):
    config = parse_config({"classifier": {**SECTION, **section}})
    return classifier.Params.of(config, arm, steps=steps, continues=continues)


def test_files(tmp_path, inputs):
    run_stage(classifier, tmp_path / "out", inputs, params())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "classifier.json",
        "classifier.safetensors",
    ]
    summary = json.loads((tmp_path / "out" / "classifier.json").read_text())
    assert (summary["optimizer_steps"], len(summary["losses"]), summary["n_rows"]) == (3, 3, 21)
    meta = read_meta(tmp_path / "out" / "classifier.safetensors")
    assert (meta.classes, meta.image_size, meta.model) == (("bkl", "mel", "nv"), 16, "test_resnet")


def job_of(tmp_path, inputs, given, name):
    """The job the stage hands to the launcher, without running it."""
    jobs = []
    run_stage(classifier, tmp_path / name, inputs, given, launch=lambda fit: jobs.append(fit.args[0]))
    return jobs[0]


def test_plain_decides_the_augmentation(tmp_path, inputs):
    section = CONFIG.classifier
    assert job_of(tmp_path, inputs, params("plain"), "a").augment == section.plain_augment == "flips"
    for arm in ("real", "hard"):
        assert job_of(tmp_path, inputs, params(arm), arm).augment == section.augment == "classical"


def test_steps_and_rate_are_the_params_not_the_sections(tmp_path, inputs):
    plan = job_of(tmp_path, inputs, params(continues=True, round_lr=0.02), "a").plan
    assert (plan.steps, plan.lr, plan.batch_size) == (3, 0.02, 8)
    plan = job_of(tmp_path, inputs, params(continues=True, lr=0.06), "b").plan
    assert plan.lr == pytest.approx(0.02), "a third of lr where round_lr is not set"


def test_extra_images_reach_the_fit(tmp_path, inputs):
    table = pd.read_parquet(inputs["pool"] / "pool.parquet").head(1)
    extra = table.assign(source="extra", row=1, image_id="S1", dx="nv", origin="synthetic")
    pd.concat([table, extra]).to_parquet(inputs["pool"] / "pool.parquet")
    np.save(inputs["pool"] / "extra.npy", np.stack([np.full((16, 16, 3), v, np.uint8) for v in (5, 9)]))
    job = job_of(tmp_path, inputs, params(), "a")
    assert job.images.open().take(np.array([1]))[0, 0, 0].tolist() == [9, 9, 9]
    assert job.labels_N.tolist()[1] == 2


def test_added_and_synthetic_images_are_told_apart(tmp_path, inputs):
    repeats = run_stage(
        pool, tmp_path / "classical", inputs, pool.Params.of(CONFIG, "classical", [{"nv": 2}])
    )
    mixed = {"mix": {"share": 0.5}}
    job = job_of(tmp_path, {**inputs, "pool": repeats}, params("classical", **mixed), "a")
    assert np.flatnonzero(job.added_N).tolist() == [21, 22], "repeats are added, but real"
    assert not job.synthetic_N.any()
    assert job.mix.share == 0.5
    assert job_of(tmp_path, inputs, params("classical"), "b").mix is None
    assert job_of(tmp_path, inputs, params("real", **mixed), "c").mix is None, "nothing is added to mix in"


def test_going_on(tmp_path, inputs):
    run_stage(classifier, tmp_path / "first", inputs, params())
    given = {**inputs, "init": tmp_path / "first"}
    assert job_of(tmp_path, given, params(), "job").init == tmp_path / "first" / "classifier.safetensors"
    run_stage(classifier, tmp_path / "second", given, params(steps=1))
    assert load_classifier(tmp_path / "second" / "classifier.safetensors")[1].image_size == 16


def test_another_context_of_the_same_seed_gives_the_same_bytes(tmp_path, inputs):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_stage(classifier, tmp_path / name, inputs, params(), seed=seed)
    a, b, c = ((tmp_path / name / "classifier.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_progress_goes_through_the_environment(tmp_path, inputs):
    told = []
    environment = TrainEnv(progress=lambda what, done, total: told.append((what, done, total)))
    run_stage(classifier, tmp_path / "a", inputs, params(), launch=lambda fit: fit(environment))
    assert told == [("classifier", 1, 3), ("classifier", 2, 3), ("classifier", 3, 3)]
