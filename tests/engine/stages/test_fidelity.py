"""Stages features and fidelity: rows in the dataset's order, one extraction for real and synthetic, nothing made."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from engine.classifier.model import build_model
from engine.classifier.weights import describe, save_classifier
from engine.config import EmbedderConfig
from engine.parts.dataset import open_dataset
from engine.parts.features import FeatureChoice, extract
from engine.stages import embedder, features, fidelity
from tests.fakes import make_context, make_dataset_folders, run_stage

N = 24
EMBEDDER = EmbedderConfig(levels=2, layers=2, width=16, patch=4, text_layers=1, steps=2, batch_size=8)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A foundation, a judge of one fold, and samples that are train images: a perfect copier."""
    root = tmp_path_factory.mktemp("fidelity")
    images, split = make_dataset_folders(root, n_lesions=60)
    found = {"images": images, "split": split}
    whole = {**params("clip"), "data": {"mask": "otsu", "crop": "none"}}
    run_stage(embedder, root / "embedder", found, whole)
    found["embedder"] = root / "embedder"
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
    frame.assign(parent_image_id=table.image_id).to_parquet(condition / "conditioning.parquet")
    return found | {"judge": judge, "synthesize": made, "condition": condition}


def params(kind, **more):
    evaluation = {"features": kind, "inception": None, "bootstrap": 100, **more}
    return {"evaluation": evaluation, "embedder": EMBEDDER.model_dump(mode="json")}


def run(root, inputs, kind):
    run_stage(features, root / "features", inputs, params(kind))
    whole = inputs | {"features": root / "features"}
    run_stage(fidelity, root / "fidelity", whole, params(kind))
    return json.loads((root / "fidelity" / "fidelity.json").read_text())


@pytest.mark.parametrize("kind", ["clip", "judge"])
def test_copies_of_train_images_are_in_the_manifold(tmp_path, inputs, kind):
    found = run(tmp_path, inputs, kind)
    dataset = open_dataset(inputs["images"], inputs["split"])
    rows = np.load(tmp_path / "features" / "features.npy")
    assert len(rows) == len(dataset.table)
    again = extract(
        make_context(tmp_path / "x", inputs),
        FeatureChoice(features=kind, inception=None),
        "cls",
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
