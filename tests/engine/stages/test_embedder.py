"""Stage embedder: its files, what it may look at, pre-trained copies, and embedding rows of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPModel, CLIPVisionConfig, CLIPVisionModel

from engine.artifacts import embedder as embedder_file
from engine.config import parse_config
from engine.data.masks import otsu_mask
from engine.errors import ConfigError, DataError
from engine.parts.dataset import open_dataset
from engine.parts.embed import Extraction, embed_rows, text_folder
from engine.retrieval.embedding import LevelEmbedder
from engine.stages import embedder
from tests.fakes import make_context, make_dataset_folders, run_stage

SMALL: dict[str, Any] = {"width": 32, "layers": 3, "levels": 2, "patch": 8, "text_layers": 1, "batch_size": 8}


def params(**changes: Any) -> embedder.Params:
    section = SMALL | {"steps": 2} | changes
    return embedder.Params.of(parse_config({"embedder": section, "data": {"crop": "none", "mask": "file"}}))


def embed(inputs: dict[str, Path], out: Path, rows: Any, mask: str = "file", **files: Path) -> Any:
    cut = Extraction.of(parse_config({"data": {"crop": "none", "mask": mask}}).data)
    return embed_rows(make_context(out, inputs), rows, "embed", tokens="cls", cut=cut, **files)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The stages images, split and embedder, finished."""
    root = tmp_path_factory.mktemp("stages")
    images, split = make_dataset_folders(root, n_lesions=30)
    inputs = {"images": images, "split": split}
    return inputs | {"embedder": run_stage(embedder, root / "embedder", inputs, params())}


def test_small_clip_is_trained_and_described(folders):
    facts = json.loads((folders["embedder"] / "embedder.json").read_text())
    assert {k: v for k, v in facts.items() if k != "losses"} == {
        "pretrained": None,
        "levels": [2, 3],
        "width": 32,
        "text": True,
        "tokens": "cls",
    }
    assert len(facts["losses"]) == 2
    assert text_folder(folders["embedder"]) == folders["embedder"] / "clip"
    assert CLIPModel.from_pretrained(folders["embedder"] / "clip").config.vision_config.image_size == 16


def test_only_train_lesions_reach_the_vocabulary_and_the_examples(folders, tmp_path):
    images, split = make_dataset_folders(tmp_path, n_lesions=30)
    dataset = open_dataset(images, split)
    examples = embedder.train_examples(dataset, "none")
    train = dataset.where("train")
    assert examples.lesion_id.tolist() == dataset.table.lesion_id[train].tolist()
    masked, whole = examples.views(np.array([3, 0]))
    stored = dataset.rows[train[[3, 0]]]
    np.testing.assert_array_equal(whole, dataset.images_NHWC[stored])
    np.testing.assert_array_equal(masked, whole * (dataset.masks_NHW[stored] > 0)[..., None])
    assert examples.image_size == 16
    vocabulary = AutoTokenizer.from_pretrained(folders["embedder"] / "clip").get_vocab()
    assert {"bkl", "mel", "nv", "dermoscopy"} <= set(vocabulary)


def test_marker_in_another_split_changes_nothing(folders, tmp_path):
    """Images of mine, val and test are painted over: the trained weights stay the same bits."""
    images, split = make_dataset_folders(tmp_path, n_lesions=30)
    dataset = open_dataset(images, split)
    pictures = np.load(images / "images.npy")
    for name in ("mine", "val", "test"):
        pictures[dataset.rows[dataset.where(name)]] = 255
    np.save(images / "images.npy", pictures)
    run_stage(embedder, tmp_path / "embedder", {"images": images, "split": split}, params())
    old, new = (
        load_file(f / "clip" / "model.safetensors") for f in (folders["embedder"], tmp_path / "embedder")
    )
    assert all(bool((old[name] == new[name]).all()) for name in old)


def test_pretrained_is_copied_and_its_layers_are_spaced(folders, tmp_path):
    source = folders["embedder"] / "clip"
    run_stage(embedder, tmp_path / "out", folders, params(pretrained=str(source), levels=1))
    facts = embedder_file.read(tmp_path / "out").to_json()
    assert facts["levels"] == [3] and facts["text"] and facts["losses"] == []
    assert facts["pretrained"] == str(source)
    images = np.load(folders["images"] / "images.npy")[:3]
    np.testing.assert_array_equal(
        LevelEmbedder(tmp_path / "out" / "clip", (3,))(images), LevelEmbedder(source, (3,))(images)
    )


def test_image_tower_alone_serves_until_a_prompt_is_needed(folders, tmp_path):
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=1, image_size=16
    )
    CLIPVisionModel(config).save_pretrained(tmp_path / "tower")
    run_stage(embedder, tmp_path / "out", folders, params(pretrained=str(tmp_path / "tower")))
    with pytest.raises(
        DataError, match=r"embedder\.pretrained: .*tower is a CLIPVisionModel without text tower"
    ):
        text_folder(tmp_path / "out")


def test_more_levels_than_the_pretrained_tower_has_layers(folders, tmp_path):
    chosen = params(pretrained=str(folders["embedder"] / "clip"), levels=5)
    with pytest.raises(ConfigError, match=r"embedder\.levels: 5 levels asked of .* 3 layers"):
        run_stage(embedder, tmp_path / "out", folders, chosen)


def test_no_train_image_is_refused(tmp_path):
    images, split = make_dataset_folders(tmp_path)
    dataset = open_dataset(images, split)
    empty = dataset.__class__(
        **{**dataset.__dict__, "table": dataset.table.replace(split=np.full(len(dataset.table), "val"))}
    )
    with pytest.raises(DataError, match=r"no train image.*raise data\.split\.train"):
        embedder.train_examples(empty, "none")


def test_embedded_rows_are_the_masked_lesions(folders, tmp_path):
    rows = np.array([4, 0, 7])
    levels_NLD = embed(folders, tmp_path / "out", rows)
    images, masks = (np.load(folders["images"] / name) for name in ("images.npy", "masks.npy"))
    lesions = (images[rows] * (masks[rows] > 0)[..., None]).astype(np.uint8)
    np.testing.assert_array_equal(levels_NLD, LevelEmbedder(folders["embedder"] / "clip", (2, 3))(lesions))
    assert embed(folders, tmp_path / "out", np.zeros(0, dtype=np.int64)).shape == (0, 2, 32)


@pytest.mark.parametrize("mask", ["otsu", "none"])
def test_images_without_masks_are_masked_as_the_config_says(folders, tmp_path, mask):
    images = np.load(folders["images"] / "images.npy")[:3]
    np.save(tmp_path / "synthetic.npy", images)
    levels_NLD = embed(folders, tmp_path / "out", np.arange(3), mask=mask, images=tmp_path / "synthetic.npy")
    if mask == "otsu":
        images = np.stack([image * (otsu_mask(image) > 0)[..., None] for image in images]).astype(np.uint8)
    np.testing.assert_array_equal(levels_NLD, LevelEmbedder(folders["embedder"] / "clip", (2, 3))(images))


def test_images_with_a_mask_file_of_their_own(folders, tmp_path):
    images, masks = (np.load(folders["images"] / name)[:2] for name in ("images.npy", "masks.npy"))
    np.save(tmp_path / "other.npy", images[::-1])
    np.save(tmp_path / "other_masks.npy", masks[::-1])
    out, rows = tmp_path / "out", np.arange(2)
    given = embed(folders, out, rows, images=tmp_path / "other.npy", masks=tmp_path / "other_masks.npy")
    np.testing.assert_array_equal(given[::-1], embed(folders, out, rows))
