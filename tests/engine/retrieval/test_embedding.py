"""Multi-level embeddings against the image tower's own hidden states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from engine.errors import ConfigError, DataError
from engine.retrieval.clip import open_vision, write_preprocessing
from engine.retrieval.embedding import LevelEmbedder, fuse, level_layers, normalise, to_pixels, unit_rows

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    CLIPVisionModel(config).save_pretrained(folder)
    write_preprocessing(folder, 16, MEAN, STD)
    return folder


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_an_activation_folded_into_its_layers_changes_nothing(tmp_path: Path, activation: str) -> None:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2, image_size=16, patch_size=8,
        hidden_act=activation,
    )  # fmt: skip
    model = CLIPVisionModel(config).eval()
    for block in model.modules():
        if isinstance(block, torch.nn.Linear):
            torch.nn.init.normal_(block.bias)  # zeros would not tell
    model.save_pretrained(tmp_path)
    write_preprocessing(tmp_path, 16, MEAN, STD)
    opened = open_vision(tmp_path, "cpu")[0]
    pixels = torch.randn(3, 3, 16, 16)
    with torch.inference_mode():
        states, expected = (
            m(pixel_values=pixels, output_hidden_states=True).hidden_states for m in (opened, model)
        )
    for found, wanted in zip(states, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    folded = [m for m in opened.modules() if isinstance(m, torch.nn.SiLU)]
    assert len(folded) == (4 if activation == "quick_gelu" else 0)


@pytest.mark.parametrize("tokens", ["cls", "patches"])
def test_16_bits_embed_as_float32_does_but_for_rounding(tower: Path, tokens: str) -> None:
    plain = LevelEmbedder(tower, (2, 4), tokens)(pictures(40))
    for precision, least in (("bf16", 0.999), ("fp16", 0.99999)):
        levels = LevelEmbedder(tower, (2, 4), tokens, precision=precision)(pictures(40))
        assert levels.dtype == np.float32 and not np.array_equal(levels, plain)
        assert cosine(levels, plain).min() > least, precision


def pictures(count: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("layers", "levels", "expected"),
    [
        (12, 5, (2, 5, 7, 10, 12)),
        (6, 5, (1, 2, 4, 5, 6)),
        (4, 4, (1, 2, 3, 4)),
        (24, 5, (5, 10, 14, 19, 24)),
        (12, 1, (12,)),
        (4, 2, (2, 4)),
    ],
)
def test_levels_are_evenly_spaced_and_end_at_the_last_layer(layers, levels, expected):
    assert level_layers(layers, levels) == expected


def test_levels_are_different_layers_whatever_the_numbers():
    for layers in range(1, 33):
        for levels in range(1, layers + 1):
            chosen = level_layers(layers, levels)
            assert len(set(chosen)) == levels and chosen[0] >= 1 and chosen[-1] == layers


def test_more_levels_than_layers_is_refused():
    with pytest.raises(ConfigError, match=r"embedder\.levels: 5 levels .* 4 layers; lower it to 4"):
        level_layers(4, 5)


@pytest.mark.parametrize("tokens", ["cls", "patches"])
def test_levels_are_the_layer_normed_hidden_states(tower, tokens):
    images = pictures(3)
    levels_NLD = LevelEmbedder(tower, (2, 4), tokens)(images)
    pixels = (images / 255.0 - MEAN) / STD
    with torch.no_grad():
        states = (
            CLIPVisionModel.from_pretrained(tower)
            .eval()(torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2), output_hidden_states=True)
            .hidden_states
        )
    for position, layer in enumerate((2, 4)):
        state = states[layer].numpy()
        token = state[:, 0] if tokens == "cls" else state[:, 1:].mean(axis=1)
        centred = token - token.mean(axis=1, keepdims=True)
        expected = centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(levels_NLD[:, position], expected, atol=1e-4)
    assert levels_NLD.dtype == np.float32 and levels_NLD.shape == (3, 2, 32)


def test_an_image_does_not_depend_on_its_company(tower):
    embedder, images = LevelEmbedder(tower, (1, 4)), pictures(40)
    together = embedder(images)
    np.testing.assert_array_equal(embedder(images[35:36])[0], together[35])
    np.testing.assert_array_equal(embedder(images[:32]), together[:32])


def test_no_image_gives_no_level(tower):
    assert LevelEmbedder(tower, (1, 4))(pictures(0)).shape == (0, 2, 32)


def test_other_sizes_are_resized_to_the_towers(tower):
    flat = np.full((2, 40, 40, 3), 90, dtype=np.uint8)
    embedder = LevelEmbedder(tower, (4,))
    np.testing.assert_allclose(embedder(flat), embedder(flat[:, :16, :16]), atol=1e-4)


def test_missing_tower_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot open"):
        LevelEmbedder(tmp_path / "none", (1,))


def test_normalise_standardises_each_channel():
    pixels = to_pixels(np.full((1, 2, 2, 3), 255, dtype=np.uint8))
    out = normalise(pixels, 2, torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1))
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([2.5, 2.4, 7 / 3]))


def test_fuse_mean_and_concat_by_hand():
    levels_NLD = np.array([[[3.0, 0.0], [3.0, 8.0]]])
    np.testing.assert_allclose(fuse(levels_NLD, "mean"), [[0.6, 0.8]])
    np.testing.assert_allclose(fuse(levels_NLD, "concat"), np.array([[3, 0, 3, 8]]) / np.sqrt(82))


def test_unit_rows_leave_a_zero_row():
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])
