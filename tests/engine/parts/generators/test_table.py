"""The generators that diffusion is compared with, through the stages gan and synthesize."""

import json

import numpy as np
import pandas as pd
import pytest

from engine.parts.dataset import open_dataset
from engine.stages import gan, synthesize
from engine.types import strings
from tests.fakes import run_stage
from tests.fakes_diffusion import make_condition, make_foundation, tiny

GAN = gan.Params.of(tiny(gan={"width": 8, "latent": 6, "batch_size": 8, "steps": 3}))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("generators")
    found = make_foundation(root)
    trained = run_stage(gan, root / "gan", found, GAN)
    return found | {"gan": trained, "condition": make_condition(root / "condition", found)}


def run(folder, inputs, generator):
    config = tiny(synthesis={"generator": generator}, policy={"acceptance": {"name": "all"}})
    run_stage(synthesize, folder, inputs, synthesize.Params.of(config))
    return np.load(folder / "images.npy"), json.loads((folder / "synthesis.json").read_text())


@pytest.mark.parametrize("generator", ["dcgan", "classical", "retrieved"])
def test_images_depend_on_their_row_alone(tmp_path, inputs, generator):
    images, info = run(tmp_path / "whole", inputs, generator)
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet")
    assert images.shape == (len(frame), 16, 16, 3)
    assert info["generator"] == generator
    few = tmp_path / "condition"
    few.mkdir()
    frame.iloc[[4, 1]].to_parquet(few / "conditioning.parquet")
    np.save(few / "levels.npy", np.load(inputs["condition"] / "levels.npy")[[4, 1]])
    part, _ = run(tmp_path / "part", inputs | {"condition": few}, generator)
    assert np.array_equal(part, images[[4, 1]])


def test_retrieved_images_are_neighbours_and_cost_no_evaluation(tmp_path, inputs):
    images, info = run(tmp_path / "s", inputs, "retrieved")
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet")
    dataset = open_dataset(inputs["images"], inputs["split"])
    for image, names, parent in zip(images, frame["neighbour_ids"], frame["parent_image_id"], strict=True):
        rows = dataset.rows[dataset.positions(strings([name for name in names if name] or [parent]))]
        assert any(np.array_equal(image, dataset.images_NHWC[row]) for row in rows)
    assert (info["nfe"], info["checkpoint"]) == (0, "")


def test_classical_images_are_their_parents_changed(tmp_path, inputs):
    images, _ = run(tmp_path / "s", inputs, "classical")
    frame = pd.read_parquet(inputs["condition"] / "conditioning.parquet")
    dataset = open_dataset(inputs["images"], inputs["split"])
    parents = dataset.images_NHWC[dataset.rows[dataset.positions(strings(frame["parent_image_id"].tolist()))]]
    colour = np.abs(images.mean(axis=(1, 2)) - parents.mean(axis=(1, 2))).mean()
    assert 0 < colour < 40
    assert not np.array_equal(images, parents)


def test_the_gan_never_sees_other_parts(tmp_path, inputs):
    dataset = open_dataset(inputs["images"], inputs["split"])
    marked = tmp_path / "images"
    marked.mkdir()
    for name in ("table.parquet", "masks.npy", "data.json"):
        (marked / name).write_bytes((inputs["images"] / name).read_bytes())
    pixels = np.array(dataset.images_NHWC)
    pixels[dataset.rows[dataset.table.split != "train"]] = 0
    np.save(marked / "images.npy", pixels)
    run_stage(gan, tmp_path / "gan", inputs | {"images": marked}, GAN)
    assert (tmp_path / "gan" / "gan.safetensors").read_bytes() == (
        inputs["gan"] / "gan.safetensors"
    ).read_bytes()
