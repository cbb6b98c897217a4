"""A marker lesion is planted in each split and followed by cause and effect through every stage.

Its pixels are changed; a stage learned from it if and only if one bit of its weights, rows or thresholds changes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.parts.dataset import open_dataset
from engine.stages import classifier, crossfit, find, mine, pool, run_stage
from engine.stages.base import Params
from engine.store.files import checksums
from tests.fakes import add_train_sets, hide, make_context, make_dataset_folders
from tests.integration.tiny import TINY, tiny_config

LEARNED = {
    "embedder": ("clip/",),
    "index": ("levels.npy", "fused.npy", "index.json"),
    "vae": ("vae/",),
    "latents": ("latents.npy",),
    "denoiser": ("unet/", "adapter.safetensors"),
    "distill": ("unet/", "adapter.safetensors"),
    "judge": ("fold_", "oof.parquet"),
    "gan": ("gan.safetensors",),
    "classifier": ("classifier.safetensors",),
    "crossfit": ("predictions.parquet",),
}
"""The files of a stage that hold what it learned (not figures recorded about other splits)."""

FITTED = {"predict": ("calibration.json",), "mine": ("hard_cases.parquet",)}
"""What val (temperature, operating point) and the mine split (hard cases) decide."""

INPUTS = {
    "embedder": (), "vae": (), "index": ("embedder",), "latents": ("vae",),
    "denoiser": ("embedder", "index", "latents"), "distill": ("embedder", "index", "latents", "denoiser"),
    "judge": (), "pool": (), "classifier": ("pool",),
    "predict": ("classifier",), "mine": ("predictions",), "crossfit": (), "gan": (),
}  # fmt: skip


GENERATOR_PARTS = {"embedder", "index", "vae", "latents", "denoiser", "distill", "gan", "judge"}
"""What ``loop.generator_saw`` binds."""


def params_of(
    root: Path, train_sets: list[int] | None, mine_from: str, saw: str = "train"
) -> dict[str, Params]:
    """Return what every stage that learns reads, of the smallest config."""
    sets = {} if train_sets is None else {"train_sets": {"count": 2, "images": 1, "use": train_sets}}
    config = tiny_config(
        str(root),
        data={
            "split": {**TINY["data"]["split"], **sets},
            "crop": "none",
            "mask": "file",
            "malignant": ["mel"],
        },
        denoiser={"steps": 4, "checkpoint_every": 4, "distill": {"steps": 2, "train_steps": 4}},
        gan={"steps": 12, "batch_size": 32, "width": 8},
        classifier={"steps": 4},
        policy={"mining": {"name": "entropy"}},
        loop={"mine_from": mine_from, "crossfit_folds": 2, "generator_saw": saw},
    )
    told: dict[str, Params] = {
        "pool": pool.Params.of(config, "real", []),
        "classifier": classifier.Params.of(config, "real", steps=config.classifier.steps, continues=False),
        "mine": mine.Params.of(config, 1),
        "crossfit": crossfit.Params.of(config, adds=False),
    }
    return {name: told.get(name) or find(name).params.of(config) for name in INPUTS}


def learn(
    root: Path,
    images: Path,
    split: Path,
    train_sets: list[int] | None = None,
    mine_from: str = "mine",
    saw: str = "train",
) -> dict[str, str]:
    """Run every stage that learns; returns the checksums of what they learned."""
    params = params_of(root, train_sets, mine_from, saw)
    kept = {"pool": ("pool.",)} | LEARNED | FITTED
    sums: dict[str, str] = {}
    for stage, roles in INPUTS.items():
        out = root / stage
        out.mkdir(parents=True)
        folders = {role: root / ("predict" if role == "predictions" else role) for role in roles}
        context = make_context(out, {"images": images, "split": split} | folders)
        run_stage(stage, context, params[stage].to_json())
        sums |= {f"{stage}/{f}": s for f, s in checksums(out).items() if f.startswith(kept[stage])}
    sums["judge/thresholds"] = str(json.loads((root / "judge" / "judge.json").read_text())["thresholds"])
    return sums


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the stages of which one file differs."""
    assert set(before) == set(after)
    return {name.split("/")[0] for name in before if before[name] != after[name]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("leakage")
    images, split = make_dataset_folders(root, n_lesions=100, classes=("mel", "nv"), size=16, seed=0)
    return root, images, split


def plant(data: tuple[Path, Path, Path], part: str) -> Path:
    """Paint one lesion of ``part``."""
    dataset = open_dataset(data[1], data[2])
    return paint(data, str(dataset.table.lesion_id[dataset.where(part)[0]]), part)


def paint(data: tuple[Path, Path, Path], lesion: str, name: str) -> Path:
    """Copy the images and paint one lesion magenta; returns the new images folder."""
    root, images, split = data
    marked = root / f"images-{name}"
    shutil.copytree(images, marked)
    dataset = open_dataset(images, split)
    rows = dataset.rows[dataset.table.lesion_id == lesion]
    pixels = np.array(dataset.images_NHWC)
    pixels[rows] = (255, 0, 255)
    np.save(marked / "images.npy", pixels)
    return marked


@pytest.fixture(scope="module")
def clean(data: tuple[Path, Path, Path]) -> dict[str, str]:
    root, images, split = data
    return learn(root / "clean", images, split)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "reached"),
    [
        ("test", set()),
        ("mine", {"mine"}),
        ("val", {"predict", "mine"}),  # the temperature, and with it the hardness it scales
        ("train", {*LEARNED, *FITTED}),
    ],
)
def test_a_planted_lesion_reaches_these_stages_and_no_other(
    data: tuple[Path, Path, Path], clean: dict[str, str], part: str, reached: set[str]
) -> None:
    root, _, split = data
    assert changed(clean, learn(root / part, plant(data, part), split)) == reached


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saw", "reached"),
    [
        ("own", set()),
        ("train", GENERATOR_PARTS),
    ],
)
def test_a_lesion_of_another_training_set_reaches_the_generator_at_most(
    data: tuple[Path, Path, Path], saw: str, reached: set[str]
) -> None:
    root, images, split = data
    sets = add_train_sets(split, root / f"sets-{saw}", only=[0] if saw == "own" else None)
    other = add_train_sets(split, root / f"all-{saw}")
    before = learn(root / f"before-{saw}", images, sets, [0], "crossfit")
    frame = pd.read_parquet(other / "split.parquet")
    lesion = str(frame.loc[frame["train_set"] == 1, "lesion_id"].iloc[0])
    marked = paint(data, lesion, f"set-{saw}")
    assert changed(before, learn(root / f"after-{saw}", marked, sets, [0], "crossfit")) == reached


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saw", "reached"),
    [("train", set()), ("unlabelled", {"embedder", "index", "vae", "latents", "denoiser", "distill"})],
)
def test_unlabelled_images_reach_the_generator_where_asked_for_and_hidden_labels_nothing(
    data: tuple[Path, Path, Path], saw: str, reached: set[str]
) -> None:
    root, images, split = data
    hidden = hide(split, root / f"split-{saw}")
    frame = pd.read_parquet(hidden / "split.parquet")
    lesions = sorted(set(frame.loc[frame["dx"] == "", "lesion_id"]))
    before = learn(root / f"before-hidden-{saw}", images, hidden, saw=saw)
    relabelled = root / f"relabelled-{saw}"
    shutil.copytree(images, relabelled)
    table = pd.read_parquet(relabelled / "table.parquet")
    table.loc[table["lesion_id"].isin(lesions), "dx"] = "planted"
    table.to_parquet(relabelled / "table.parquet", index=False)
    if not reached:  # labels and pixels at once: neither may reach anything
        marked = paint((root, relabelled, split), lesions[0], f"hidden-{saw}")
        assert changed(before, learn(root / f"after-hidden-{saw}", marked, hidden, saw=saw)) == set()
        return
    assert changed(before, learn(root / f"relabelled-{saw}-out", relabelled, hidden, saw=saw)) == set()
    marked = paint(data, lesions[0], f"hidden-{saw}")
    assert changed(before, learn(root / f"after-hidden-{saw}", marked, hidden, saw=saw)) == reached


def test_the_planted_lesions_are_where_they_should_be(data: tuple[Path, Path, Path]) -> None:
    _, _, split = data
    frame = pd.read_parquet(split / "split.parquet")
    assert set(frame["split"]) == {"train", "mine", "val", "test"}
    assert (frame.groupby("lesion_id")["split"].nunique() == 1).all()
