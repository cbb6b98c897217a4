"""Stages features and fidelity: rows in the dataset's order, one extraction for real and synthetic, nothing made."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from engine.classifier.model import build_model
from engine.classifier.weights import describe, save_classifier
from engine.config import parse_config
from engine.parts.dataset import open_dataset
from engine.parts.features import extract
from engine.stages import embedder, features, fidelity
from tests.fakes import make_context, make_dataset_folders, run_stage

N = 24
EMBEDDER = {"levels": 2, "layers": 2, "width": 16, "patch": 4, "text_layers": 1, "steps": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A foundation, a judge of one fold, and samples that are train images: a perfect copier."""
    root = tmp_path_factory.mktemp("fidelity")
    images, split = make_dataset_folders(root, n_lesions=60)
    found = {"images": images, "split": split}
    found["embedder"] = run_stage(embedder, root / "embedder", found, embedder.Params.of(config("clip")))
    judge, made, condition = (root / name for name in ("judge", "made", "conditioned"))
    for folder in (judge, made, condition):
        folder.mkdir()
    meta = describe("test_resnet", ("bkl", "mel", "nv"), 16, False, None)
    save_classifier(build_model("test_resnet", 3, 16), meta, judge / "fold_0.safetensors")
    dataset = open_dataset(found["images"], found["split"])
    rows = dataset.where("train")[:N]
    table = dataset.table.take(rows)
    np.save(made / "images.npy", np.asarray(dataset.images_NHWC[dataset.rows[rows]]))
    frame = pd.DataFrame({"sample_id": [f"s{i}" for i in range(len(rows))], "dx": table.dx})
    none = [[] for _ in rows]
    frame = frame.assign(
        parent_image_id=table.image_id, neighbour_ids=none, weights=none, seed=np.arange(len(rows))
    )
    frame.to_parquet(condition / "conditioning.parquet")
    return found | {"judge": judge, "synthesize": made, "condition": condition}


def config(kind):
    evaluation = {"features": kind, "bootstrap": 100}
    return parse_config(
        {"evaluation": evaluation, "embedder": EMBEDDER, "data": {"mask": "otsu", "crop": "none"}}
    )


def run(root, inputs, kind):
    of_real = run_stage(features, root / "features", inputs, features.Params.of(config(kind)))
    whole = inputs | {"features": of_real}
    run_stage(fidelity, root / "fidelity", whole, fidelity.Params.of(config(kind)))
    return json.loads((root / "fidelity" / "fidelity.json").read_text())


@pytest.mark.parametrize("kind", ["clip", "judge"])
def test_copies_of_train_images_are_in_the_manifold(tmp_path, inputs, kind):
    found = run(tmp_path, inputs, kind)
    dataset = open_dataset(inputs["images"], inputs["split"])
    rows = np.load(tmp_path / "features" / "features.npy")
    assert len(rows) == len(dataset.table)
    params = features.Params.of(config(kind))
    again = extract(
        make_context(tmp_path / "x", inputs),
        params.evaluation,
        params.embedder.tokens,
        inputs["synthesize"] / "images.npy",
        np.arange(3),
        "x",
    )
    assert np.allclose(again, rows[dataset.where("train")[:3]], atol=1e-4)
    assert found["features"] == features.NAMES[kind]
    assert found["n_synthetic"] == N
    assert found["overall"]["precision"]["value"] > 0.5
    assert set(found["per_class"]) <= {"bkl", "mel", "nv"}


def test_nothing_synthesized_has_no_figure(tmp_path, inputs):
    empty = tmp_path / "condition"
    empty.mkdir()
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet").iloc[:0]
    frame.to_parquet(empty / "conditioning.parquet")
    found = run(tmp_path, inputs | {"condition": empty}, "clip")
    assert (found["overall"], found["per_class"], found["n_synthetic"]) == (None, {}, 0)
