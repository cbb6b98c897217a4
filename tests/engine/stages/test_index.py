"""Stage index: rows in the order of the train split, unit rows, searchable files, and distance quantiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.config import Config, parse_config
from engine.parts.dataset import open_dataset
from engine.retrieval.embedding import fuse
from engine.retrieval.index import LesionIndex
from engine.stages import embedder, index
from tests.fakes import make_dataset_folders, run_stage


def config(fused: str) -> Config:
    section = {
        "width": 32,
        "layers": 2,
        "levels": 2,
        "patch": 8,
        "text_layers": 1,
        "batch_size": 8,
        "steps": 1,
    }
    return parse_config({"embedder": {**section, "fuse": fused}, "data": {"crop": "none", "mask": "file"}})


def run(out: Path, inputs: dict[str, Path], fused: str) -> None:
    run_stage(index, out, inputs, index.Params.of(config(fused)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("stages")
    images, split = make_dataset_folders(root, n_lesions=30)
    inputs = {"images": images, "split": split}
    clip = run_stage(embedder, root / "embedder", inputs, embedder.Params.of(config("mean")))
    return inputs | {"embedder": clip}


@pytest.mark.parametrize(("fused", "width"), [("mean", 32), ("concat", 64)])
def test_index_holds_the_train_split_in_its_order(folders, tmp_path, fused, width):
    run(tmp_path / "index", folders, fused)
    dataset = open_dataset(folders["images"], folders["split"])
    train = dataset.where("train")
    ids = pd.read_parquet(tmp_path / "index" / "ids.parquet")
    for column in ("image_id", "lesion_id", "dx"):
        assert ids[column].tolist() == getattr(dataset.table, column)[train].tolist()
    levels = np.load(tmp_path / "index" / "levels.npy")
    rows = np.load(tmp_path / "index" / "fused.npy")
    assert levels.shape == (len(train), 2, 32) and levels.dtype == np.float32
    assert rows.shape == (len(train), width)
    np.testing.assert_allclose(rows, fuse(levels, fused), atol=1e-6)
    np.testing.assert_allclose(levels.mean(axis=2), 0, atol=1e-5)
    assert len(LesionIndex.load(tmp_path / "index")) == len(train)


def test_quantiles_are_of_the_distance_to_the_nearest_other_lesion(folders, tmp_path):
    run(tmp_path / "index", folders, "mean")
    facts = json.loads((tmp_path / "index" / "index.json").read_text())
    rows = np.load(tmp_path / "index" / "fused.npy").astype(np.float64)
    lesion = pd.read_parquet(tmp_path / "index" / "ids.parquet")["lesion_id"].to_numpy()
    distance = 1 - rows @ rows.T
    distance[lesion[:, None] == lesion[None, :]] = np.inf
    assert facts["n"] == len(rows)
    assert set(facts["quantiles"]) == {"1", "5", "25", "50", "75", "95", "99"}
    for percentile, value in facts["quantiles"].items():
        assert abs(value - np.percentile(distance.min(axis=1), int(percentile))) < 1e-6


def test_same_inputs_give_the_same_bytes(folders, tmp_path):
    for name in ("one", "two"):
        run(tmp_path / name, folders, "mean")
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
