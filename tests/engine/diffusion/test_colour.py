"""Colour in the VAE's training: the jitter's arithmetic, and how much colour a reconstruction keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.diffusion.vae_train import (
    JITTER_DRAWS,
    chroma_products,
    jitter_colour,
    jitter_regions,
    slope,
)


def one_pixel(red: float, green: float, blue: float) -> torch.Tensor:
    return torch.tensor([red, green, blue]).reshape(1, 3, 1, 1) * 2 - 1


def test_middle_draws_change_nothing() -> None:
    pixel = one_pixel(0.8, 0.5, 0.4)
    assert torch.allclose(jitter_colour(pixel, torch.full((1, 4), 0.5), 0.3), pixel, atol=1e-6)


def test_saturation_is_scaled_around_luma_and_channels_by_their_gain() -> None:
    draws = torch.tensor([[1.0, 0.5, 0.0, 1.0]])  # saturation exp(0.6), gains 1, 0.7, 1.3
    luma = 0.299 * 0.6 + 0.587 * 0.5 + 0.114 * 0.4
    scaled = [luma + np.exp(0.6) * (v - luma) for v in (0.6, 0.5, 0.4)]
    expected = torch.tensor([scaled[0], 0.7 * scaled[1], 1.3 * scaled[2]]) * 2 - 1
    found = jitter_colour(one_pixel(0.6, 0.5, 0.4), draws, 0.3).flatten()
    assert torch.allclose(found, expected.float(), atol=1e-6)


def test_the_result_stays_an_image() -> None:
    found = jitter_colour(torch.rand(8, 3, 4, 4) * 2 - 1, torch.rand(8, 4), 1.0)
    assert found.min() >= -1
    assert found.max() <= 1


@pytest.mark.parametrize("kept", [1.0, 0.25, 0.0])
def test_chroma_slope_is_the_share_of_colour_differences_kept(kept: float) -> None:
    rng = np.random.default_rng(0)
    grey, colour = rng.random((20, 1)), rng.normal(0, 0.1, (20, 3))
    mean = colour.mean(axis=0)
    changed = grey * 0.5 + mean + kept * (colour - mean)
    assert slope(chroma_products((grey + colour)[None], changed[None])) == pytest.approx(kept, abs=1e-9)


def test_images_of_one_colour_have_no_slope() -> None:
    assert slope(chroma_products(np.full((1, 3, 3), 0.5), np.full((1, 3, 3), 0.4))) is None


def test_regions_with_one_jitter_twice_are_that_jitter() -> None:
    pixels, draws = torch.rand(3, 3, 8, 8) * 2 - 1, torch.rand(3, JITTER_DRAWS)
    draws[:, 4:8] = draws[:, :4]
    assert torch.allclose(
        jitter_regions(pixels, draws, 0.3), jitter_colour(pixels, draws[:, :4], 0.3), atol=1e-6
    )


def test_regions_change_the_colour_of_one_place_against_another() -> None:
    pixels = torch.zeros(1, 3, 16, 16)
    draws = torch.full((1, JITTER_DRAWS), 0.5)
    draws[:, 1] = 1.0  # the first jitter: red up by 1.3
    draws[:, 8:] = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(4)  # acts on the right half
    found = jitter_regions(pixels, draws, 0.3)
    assert found[0, 0, 8, 1] == pytest.approx(0.0, abs=0.02)
    assert found[0, 0, 8, -2] == pytest.approx(0.3, abs=0.02)
    assert float((found[0, 1:] - pixels[0, 1:]).abs().max()) < 1e-6
