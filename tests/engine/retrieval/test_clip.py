"""CLIP on disk: the small one's shape and seed, pre-trained copies with and without text, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    CLIPModel,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from engine.config import EmbedderConfig
from engine.errors import DataError
from engine.retrieval.clip import CLIP_MEAN, copy_pretrained, heads, open_vision, quiet, save_clip, small_clip
from engine.retrieval.tokenizer import build_tokenizer

CAPTIONS = ["dermoscopy of mel on the back, male", "dermoscopy of nv"]
SMALL = EmbedderConfig(width=32, layers=2, levels=2, patch=8, text_layers=1)


def saved_clip(folder: Path, seed: int = 0) -> Path:
    tokenizer = build_tokenizer(CAPTIONS)
    save_clip(folder, small_clip(SMALL, 16, tokenizer, seed), tokenizer, 16)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_clip(tmp_path_factory.mktemp("saved") / "clip")


@pytest.mark.parametrize(("width", "count"), [(16, 1), (32, 1), (96, 3), (128, 4), (100, 2), (97, 1)])
def test_heads_divide_the_width_at_about_32_channels(width, count):
    assert heads(width) == count


def test_small_clip_depends_on_its_seed_alone_and_leaves_the_global_generator():
    tokenizer = build_tokenizer(CAPTIONS)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = small_clip(SMALL, 16, tokenizer, 1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = (small_clip(SMALL, 16, tokenizer, seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["visual_projection.weight"], other["visual_projection.weight"])


def test_saved_clip_opens_as_model_text_tower_and_tokenizer(clip):
    whole = CLIPModel.from_pretrained(clip).eval()
    tower = CLIPTextModel.from_pretrained(clip).eval()
    ids = AutoTokenizer.from_pretrained(clip)(CAPTIONS, padding=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        pooled, states = tower(ids).pooler_output, tower(ids).last_hidden_state
        torch.testing.assert_close(pooled, whole.text_model(ids).pooler_output)
    ends = (ids == 3).int().argmax(dim=1).tolist()
    torch.testing.assert_close(pooled, torch.stack([states[row, end] for row, end in enumerate(ends)]))


def test_open_vision_gives_a_frozen_tower_and_its_preprocessing(clip):
    model, mean, std = open_vision(clip, "cpu")
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert mean == CLIP_MEAN and len(std) == 3
    assert transformers.CLIPImageProcessor.from_pretrained(clip).crop_size["height"] == 16


def test_copy_of_a_whole_clip_keeps_weights_tokenizer_and_preprocessing(clip, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for file in clip.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    settings = json.loads((source / "preprocessor_config.json").read_text())
    (source / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.1, 0.2, 0.3]}))
    facts = copy_pretrained(str(source), tmp_path / "copy")
    assert facts == {"layers": 2, "width": 32, "text": True}
    old, new = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "copy"))
    assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)
    assert open_vision(tmp_path / "copy", "cpu")[1] == (0.1, 0.2, 0.3)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "copy")) == len(build_tokenizer(CAPTIONS))


def test_copy_of_an_image_tower_alone_has_no_text_and_clips_preprocessing(tmp_path):
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=3, num_attention_heads=1, image_size=16
    )
    CLIPVisionModel(config).save_pretrained(tmp_path / "source")
    facts = copy_pretrained(str(tmp_path / "source"), tmp_path / "copy")
    assert facts == {"layers": 3, "width": 32, "text": False}
    model, mean, _ = open_vision(tmp_path / "copy", "cpu")
    assert mean == CLIP_MEAN and model.config.num_hidden_layers == 3


def broken(folder: Path) -> None:
    saved_clip(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")


def incomplete(folder: Path) -> None:
    saved_clip(folder)
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def untold(folder: Path) -> None:
    saved_clip(folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()


def another_model(folder: Path) -> None:
    BertConfig().save_pretrained(folder)


def nothing(_folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (nothing, r"cannot open .*model.* train a small one"),
        (broken, r"cannot open .*model"),
        (untold, r"holds no tokenizer .* add the model's tokenizer files"),
        (incomplete, r"lacks 1 weights, among them visual_projection\.weight"),
        (another_model, r"holds a bert model; give a CLIPModel or CLIPVisionModel"),
    ],
)
def test_unusable_checkpoints_are_refused_by_name(tmp_path, prepare, message):
    prepare(tmp_path / "model")
    with pytest.raises(DataError, match=rf"embedder\.pretrained: (?s:.*){message}") as caught:
        copy_pretrained(str(tmp_path / "model"), tmp_path / "copy")
    assert str(tmp_path / "model") in str(caught.value)
    assert not (tmp_path / "copy").exists()


def test_hub_id_offline_names_the_field_and_the_remedy(tmp_path):
    with pytest.raises(DataError, match=r"embedder\.pretrained: cannot open hardcase/no-such-clip .*online"):
        copy_pretrained("hardcase/no-such-clip", tmp_path / "copy")


def test_quiet_restores_verbosity_and_progress_bars():
    log = transformers.utils.logging
    log.set_verbosity_info()
    log.enable_progress_bar()
    with pytest.raises(ValueError), quiet():
        assert log.get_verbosity() == log.ERROR and not log.is_progress_bar_enabled()
        raise ValueError
    assert log.get_verbosity() == log.INFO and log.is_progress_bar_enabled()
    log.set_verbosity_warning()


def test_saved_weights_are_float32_safetensors(clip):
    weights = load_file(clip / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert not list(clip.glob("*.bin"))
    assert np.isfinite(float(weights["logit_scale"]))
