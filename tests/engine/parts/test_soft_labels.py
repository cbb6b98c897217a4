"""Soft labels: by hand, by arm, and from no fold that has seen the lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.arms import ARMS
from engine.artifacts import pool as pool_file
from engine.classifier.predict import predict_logits, softmax
from engine.config import parse_config
from engine.errors import ConfigError
from engine.parts.dataset import open_dataset
from engine.parts.judge_folds import logit_worker
from engine.parts.soft_labels import SoftLabels
from engine.stages import judge, pool
from engine.training.plan import TrainEnv
from tests.fakes import make_context, make_dataset_folders, map_in_process, run_stage


def test_labels_by_hand() -> None:
    """Temperature 2: (0.64, 0.36) become (0.8, 0.6) / 1.4; then a quarter goes to the intended class."""
    prob = np.array([[0.64, 0.36], [1.0, 0.0]])
    found = SoftLabels(temperature=2.0, share=0.25).labels(prob, np.array([1, 1]))
    assert found[0] == pytest.approx([0.75 * 0.8 / 1.4, 0.75 * 0.6 / 1.4 + 0.25])
    assert found[1] == pytest.approx([0.75, 0.25], abs=1e-5), "a probability of 0 has a finite logarithm"
    assert found.sum(axis=1) == pytest.approx([1.0, 1.0])


def test_the_whole_share_is_a_hard_label_and_none_is_the_judge_s() -> None:
    prob, label = np.array([[0.64, 0.36]]), np.array([1])
    assert SoftLabels(temperature=3.0, share=1.0).labels(prob, label).tolist() == [[0.0, 1.0]]
    assert SoftLabels(temperature=1.0).labels(prob, label) == pytest.approx(prob)
    sharp = SoftLabels(temperature=0.01).labels(prob, label)
    assert sharp[0, 0] > 0.999


@pytest.mark.parametrize("arm", ARMS)
def test_which_arms_are_taught_otherwise(arm: str) -> None:
    def of(**section: object) -> SoftLabels | None:
        return SoftLabels.of(parse_config({"synthesis": section}), arm)

    makes = ARMS[arm].adds == "synthetic images"
    if arm == "distilled":
        assert of() == SoftLabels(temperature=1.0)
        assert of(labels="soft", weight=2.0, label_share=0.5) == SoftLabels(temperature=1.0, share=0.5)
        return
    assert of(label_temperature=2.0, label_share=0.5) is None
    assert of(labels="soft") == (SoftLabels(temperature=1.0) if makes else None)
    assert of(weight=2.0, label_share=0.5) == (SoftLabels(temperature=None, weight=2.0) if makes else None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", "smooth"),
        ("label_temperature", 0.0),
        ("label_share", 1.5),
        ("weight", 0.0),
        ("weight", "1"),
    ],
)
def test_bad_settings_are_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"synthesis\.{key}"):
        parse_config({"synthesis": {key: value}})


def test_the_label_of_an_own_image_is_of_the_fold_that_held_its_lesion_out(tmp_path: Path) -> None:
    images, split = make_dataset_folders(tmp_path)
    inputs = {"images": images, "split": split}
    section = {"model": "test_resnet", "steps": 6, "folds": 3, "batch_size": 12, "lr": 3e-3, "ema": 0.0}
    config = parse_config({"judge": section, "synthesis": {"label_temperature": 1.5}})
    jobs = []

    def launch(fit):  # type: ignore[no-untyped-def]
        jobs.append(fit.args[0])
        fit(TrainEnv())

    run_stage(judge, tmp_path / "judge", inputs, judge.Params.of(config), launch=launch)
    counts = {"bkl": 8, "mel": 8, "nv": 8}
    given = {**inputs, "judge": tmp_path / "judge"}
    run_stage(pool, tmp_path / "pool", given, pool.Params.of(config, "distilled", [counts]))
    found, facts = pool_file.read(tmp_path / "pool"), judge.judge_file.read_facts(tmp_path / "judge")
    assert found.label_NC is not None and found.soft_N.sum() == 24
    fold_of = judge.judge_file.read_fold_of(tmp_path / "judge")
    lesion_of = pd.read_parquet(split / "split.parquet").set_index("row")["lesion_id"]
    dataset, context = open_dataset(images, split), make_context(tmp_path / "unused", inputs)
    for row in np.flatnonzero(found.soft_N):
        fold = fold_of[str(found.image_id[row])]
        seen = set(lesion_of.loc[jobs[fold].images.row_N])
        assert lesion_of.loc[found.row_N[row]] not in seen
        weights = tmp_path / "judge" / f"fold_{fold}.safetensors"
        worker = logit_worker(context, weights, images / "images.npy")
        logits = predict_logits(map_in_process, worker, found.row_N[[row]], "by hand")
        by_hand = softmax(logits, facts.temperature * 1.5)[0]
        assert found.label_NC[row] == pytest.approx(by_hand, abs=1e-4)
    assert len(set(fold_of.values())) == 3
    assert dataset.classes == facts.classes
