"""A marker lesion is planted in each split and followed by cause and effect through every stage.

Its pixels are changed; a stage learned from it if and only if one bit of its weights, rows or thresholds changes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.stages.base import run_stage
from engine.stages.dataset import open_dataset
from engine.store.files import checksums
from tests.fakes import make_context, make_dataset_folders
from tests.integration.tiny import tiny_config

LEARNED = {
    "embedder": ("clip/",),
    "index": ("levels.npy", "fused.npy", "index.json"),
    "vae": ("vae/",),
    "latents": ("latents.npy",),
    "denoiser": ("unet/", "adapter.safetensors"),
    "judge": ("fold_", "oof.parquet"),
    "classifier": ("classifier.safetensors",),
}
"""The files of a stage that hold what it learned (not figures recorded about other splits)."""

INPUTS = {
    "embedder": (), "vae": (), "index": ("embedder",), "latents": ("vae",),
    "denoiser": ("embedder", "index", "latents"), "judge": (), "pool": (), "classifier": ("pool",),
}  # fmt: skip


def learn(root: Path, images: Path, split: Path) -> dict[str, str]:
    """Run every stage that learns; returns the checksums of what they learned."""
    tree = tiny_config(str(root)).model_dump(mode="json")
    cut = {"crop": "none", "mask": "file"}
    params = {
        "embedder": {"embedder": tree["embedder"], "data": cut},
        "index": {"embedder": tree["embedder"], "data": cut},
        "vae": {"vae": tree["vae"]},
        "latents": {"vae": tree["vae"]},
        "denoiser": {"denoiser": tree["denoiser"], "embedder": tree["embedder"]},
        "judge": {"judge": tree["judge"]},
        "pool": {"arm": "real", "counts": {}},
        "classifier": {
            "classifier": {"model": "resnet10t", "batch_size": 16},
            "plain": True,
            "steps": 4,
            "lr": 1e-3,
        },
    }
    sums: dict[str, str] = {}
    for stage in ("embedder", "index", "vae", "latents", "denoiser", "judge", "pool", "classifier"):
        out = root / stage
        out.mkdir(parents=True)
        inputs = {"images": images, "split": split} | {role: root / role for role in INPUTS[stage]}
        run_stage(stage, make_context(out, inputs, params[stage]))
        found = checksums(out).items()
        sums |= {f"{stage}/{f}": s for f, s in found if f.startswith(LEARNED.get(stage, ("pool.",)))}
    return sums


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("leakage")
    images, split = make_dataset_folders(root, n_lesions=60, classes=("mel", "nv"), size=16, seed=0)
    return root, images, split


def plant(data: tuple[Path, Path, Path], part: str) -> Path:
    """Copy the images and paint one lesion of ``part`` magenta; returns the new images folder."""
    root, images, split = data
    marked = root / f"images-{part}"
    shutil.copytree(images, marked)
    dataset = open_dataset(images, split)
    lesion = dataset.table.lesion_id[dataset.where(part)[0]]
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
@pytest.mark.parametrize("part", ["mine", "val", "test"])
def test_nothing_learns_from_a_lesion_outside_train(
    data: tuple[Path, Path, Path], clean: dict[str, str], part: str
) -> None:
    root, _, split = data
    assert learn(root / part, plant(data, part), split) == clean


@pytest.mark.slow
def test_every_stage_learns_from_a_train_lesion(data: tuple[Path, Path, Path], clean: dict[str, str]) -> None:
    root, _, split = data
    marked = learn(root / "train", plant(data, "train"), split)
    for stage in LEARNED:
        changed = [name for name in clean if name.startswith(f"{stage}/") and clean[name] != marked[name]]
        assert changed, f"{stage} did not see the marker"


def test_the_planted_lesions_are_where_they_should_be(data: tuple[Path, Path, Path]) -> None:
    _, _, split = data
    frame = pd.read_parquet(split / "split.parquet")
    assert set(frame["split"]) == {"train", "mine", "val", "test"}
    assert (frame.groupby("lesion_id")["split"].nunique() == 1).all()
