"""The judge: files, thresholds by hand, and val that decides nothing."""

from __future__ import annotations

import json
import random

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from engine.classifier.calibration import negative_log_likelihood
from engine.classifier.predict import predict_logits, softmax
from engine.classifier.weights import read_meta
from engine.config import parse_config
from engine.parts.dataset import open_dataset
from engine.parts.judge_folds import logit_worker
from engine.stages import judge
from engine.training.plan import TrainEnv
from tests.engine.training.test_checkpoints import DAMAGES
from tests.fakes import make_context, make_dataset_folders, map_in_process, run_stage

SECTION = {"model": "test_resnet", "steps": 25, "folds": 2, "batch_size": 12, "lr": 3e-3, "ema": 0.8}
PARAMS = judge.Params.of(parse_config({"judge": SECTION}))
QUICK = judge.Params.of(
    parse_config({"judge": {**SECTION, "steps": 15, "batch_size": 4, "checkpoint_every": 5}})
)


def run(tmp_path, name, inputs):
    run_stage(judge, tmp_path / name, inputs, PARAMS)
    return json.loads((tmp_path / name / "judge.json").read_text())


@pytest.mark.slow
def test_judge_learns_out_of_fold_and_val_decides_nothing(tmp_path):
    images, split = make_dataset_folders(tmp_path)
    inputs = {"images": images, "split": split}
    found = run(tmp_path, "out", inputs)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["fold_0.safetensors", "fold_1.safetensors", "judge.json", "oof.parquet"]
    oof = pd.read_parquet(tmp_path / "out" / "oof.parquet")
    assert list(oof.columns) == ["image_id", "fold", "dx", "p_bkl", "p_mel", "p_nv"]
    predicted = oof[["p_bkl", "p_mel", "p_nv"]].to_numpy().argmax(1)
    right = np.array(["bkl", "mel", "nv"])[predicted] == oof["dx"]
    assert found["oof_accuracy"] == pytest.approx(right.mean())
    assert found["oof_accuracy"] > 0.6
    assert found["oof_recall"]["mel"] == pytest.approx(right[oof["dx"] == "mel"].mean())
    assert (found["model"], found["folds"]) == ("test_resnet", 2)
    assert read_meta(tmp_path / "out" / "fold_1.safetensors").classes == ("bkl", "mel", "nv")

    table = pd.read_parquet(split / "split.parquet")
    array = np.load(images / "images.npy")
    array[table.loc[table["split"] != "train", "row"]] = 0
    np.save(images / "images.npy", array)
    again = run(tmp_path, "blind", inputs)
    assert again["thresholds"] == found["thresholds"]
    assert again["val_accuracy"] == pytest.approx(1 / 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "step"),
    [
        *((damage, 12) for damage in DAMAGES),
        *(pytest.param(damage, 5, marks=pytest.mark.heavy) for damage in DAMAGES),
    ],
)
def test_damaged_files_of_a_killed_attempt_change_nothing(tmp_path, whole_judge, damage, step):
    """Killed in fold 2 after fold 1 was finished; then every file of the checkpoint folder is damaged in turn."""
    inputs, whole = whole_judge
    out, checkpoint = tmp_path / "out", tmp_path / "out.checkpoint"
    started = []

    def dies_in_fold_2(fit):
        started.append(fit)
        if len(started) == 1:
            return fit(TrainEnv())

        def progress(what, done, total):
            if done == step:
                raise KeyboardInterrupt

        return fit(TrainEnv(progress=progress))

    with pytest.raises(KeyboardInterrupt):
        run_stage(judge, out, inputs, QUICK, launch=dies_in_fold_2)
    rng = random.Random(step)
    for path in sorted(p for p in checkpoint.rglob("*") if p.is_file()):
        damage(path, rng)
    run_stage(judge, out, inputs, QUICK)
    for path in whole.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.fixture(scope="module")
def whole_judge(tmp_path_factory):
    """An uninterrupted judge, of a few steps."""
    root = tmp_path_factory.mktemp("judge")
    images, split = make_dataset_folders(root, n_lesions=15)
    inputs = {"images": images, "split": split}
    run_stage(judge, root / "whole", inputs, QUICK)
    return inputs, root / "whole"


@pytest.mark.slow
def test_the_temperature_is_the_likeliest_out_of_fold_and_val_is_of_the_calibrated_mean(tmp_path):
    images, split = make_dataset_folders(tmp_path)
    inputs = {"images": images, "split": split}
    pixels = np.load(images / "images.npy")
    pixels[::4] = pixels[np.roll(np.arange(len(pixels)), 1)[::4]]  # a quarter looks like another class
    np.save(images / "images.npy", pixels)
    found = run(tmp_path, "out", inputs)
    assert found["temperature"] != 1.0
    oof = pd.read_parquet(tmp_path / "out" / "oof.parquet")
    prob, label = oof[["p_bkl", "p_mel", "p_nv"]].to_numpy(), pd.Categorical(oof["dx"]).codes
    losses = [
        negative_log_likelihood(np.log(prob), label, found["temperature"] * factor)
        for factor in (0.9, 1, 1.1)
    ]
    assert losses[1] == min(losses)

    dataset = open_dataset(images, split)
    val = dataset.where("val")
    context = make_context(tmp_path / "unused", inputs)
    folds = []
    for fold in (0, 1):
        worker = logit_worker(context, tmp_path / "out" / f"fold_{fold}.safetensors", images / "images.npy")
        logits = predict_logits(map_in_process, worker, dataset.rows[val], "val")
        folds.append(softmax(logits / found["temperature"]))
    mean, truth = (folds[0] + folds[1]) / 2, dataset.labels[val]
    nll = -np.log(mean[np.arange(len(truth)), truth]).mean()
    assert found["val"]["nll"]["value"] == pytest.approx(nll)
    assert found["val"]["nll"]["low"] < nll < found["val"]["nll"]["high"]
    assert found["val"]["accuracy"]["value"] == pytest.approx((mean.argmax(1) == truth).mean())
    assert found["val"]["malignant"]["auc"]["value"] == pytest.approx(roc_auc_score(truth == 1, mean[:, 1]))
    assert {"balanced_accuracy", "ece"} < set(found["val"])
    assert (found["val"]["n"], found["val"]["malignant"]["n"]) == (len(val), (truth == 1).sum())

    pixels[dataset.rows[val]] = 0
    np.save(images / "images.npy", pixels)
    blind = run(tmp_path, "blind", inputs)
    assert blind["temperature"] == found["temperature"], "val fits nothing"
    assert blind["val"]["nll"] != found["val"]["nll"]


def test_without_malignant_classes_there_is_no_figure_of_malignancy():
    none = judge.Params.of(parse_config({"judge": SECTION, "data": {"malignant": []}}))
    assert "malignant" not in none.to_json()
    assert PARAMS.to_json()["malignant"] == ["mel", "bcc", "akiec"]


def test_recall_by_hand():
    prob = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]])
    label = np.array([0, 0, 1])
    assert judge.accuracy(prob, label) == pytest.approx(2 / 3)
    assert judge.recall(prob, label, ("a", "b", "c")) == {"a": 0.5, "b": 1.0, "c": None}


def test_thresholds_by_hand():
    own = np.linspace(0.60, 0.70, 11)
    prob = np.stack([own, 1 - own, np.zeros(11)], axis=1)
    prob = np.concatenate([prob, [[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.7, 0.3, 0]]])
    label = np.array([0] * 11 + [0, 0, 1, 1])
    lesion = np.array([f"L{i:02d}" for i in range(11)] + ["M", "M", "N", "N"])
    found = judge.thresholds(prob, label, lesion, ("a", "b", "c"))
    values = sorted([*own, 0.65])
    assert found["a"] == pytest.approx(np.percentile(values, 10)), "M is one lesion of mean 0.65"
    assert found["b"] == pytest.approx(0.55), "N's mean is (0.8 + 0.3) / 2"
    assert found["c"] == pytest.approx(np.percentile(sorted([*values, 0.55]), 10)), (
        "no lesion of c: all classes'"
    )


def test_thresholds_of_a_judge_that_is_never_right():
    found = judge.thresholds(np.array([[0.1, 0.9]]), np.array([0]), np.array(["L"]), ("a", "b"))
    assert found == {"a": 0.5, "b": 0.5}
