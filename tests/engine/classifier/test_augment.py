"""Augmentation worked out by hand, and its independence of the number of workers."""

from __future__ import annotations

import pytest
import torch

from engine.classifier.augment import (
    BRIGHTNESS,
    add_noise,
    affine_matrices,
    augment,
    blur,
    colour_matrices,
    dihedral,
    recolour,
    warp,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


SQUARE = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, [[1, 2], [3, 4]]),
        (1, [[2, 1], [4, 3]]),
        (2, [[3, 4], [1, 2]]),
        (3, [[4, 3], [2, 1]]),
        (4, [[1, 3], [2, 4]]),
        (5, [[2, 4], [1, 3]]),
        (6, [[3, 1], [4, 2]]),
        (7, [[4, 2], [3, 1]]),
    ],
)
def test_eight_symmetries(code, expected):
    assert dihedral(SQUARE, torch.tensor([code]))[0, 0].tolist() == expected


def test_affine_of_zero_draws_is_the_identity():
    images = torch.rand(2, 3, 8, 8, generator=generator())
    zero = torch.zeros(2)
    assert torch.allclose(warp(images, affine_matrices(zero, zero, torch.zeros(2, 2))), images, atol=1e-5)


def test_shift_moves_by_the_share_of_the_side():
    images = torch.zeros(1, 1, 50, 50)
    images[0, 0, 25, 25] = 1.0
    moved = warp(images, affine_matrices(torch.zeros(1), torch.zeros(1), torch.tensor([[1.0, 0.0]])))
    assert moved[0, 0, 25, 22] == pytest.approx(1.0, abs=1e-4), (
        "0.06 of 50 px, the output reads 3 px to the right"
    )


def colour(unit, image):
    images = torch.tensor(image).view(1, 3, 1, 1)
    matrix, offset = colour_matrices(torch.tensor([unit]), images.mean((2, 3)))
    return recolour(images, matrix, offset).flatten().tolist()


def test_colour_by_hand():
    assert colour([0.0, 0.0, 0.0, 0.0], [0.2, 0.4, 0.6]) == pytest.approx([0.2, 0.4, 0.6], abs=1e-5)
    assert colour([1.0, 0.0, 0.0, 0.0], [0.2, 0.4, 0.6]) == pytest.approx(
        [0.2 * (1 + BRIGHTNESS), 0.4 * (1 + BRIGHTNESS), 0.6 * (1 + BRIGHTNESS)], abs=1e-5
    )
    luma = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    assert colour([0.0, 0.0, -5.0, 0.0], [0.2, 0.4, 0.6]) == pytest.approx([luma] * 3, abs=1e-4), (
        "saturation 0"
    )
    assert colour([0.0, 1.0, 0.0, 0.0], [0.2, 0.4, 0.6]) == pytest.approx(
        [0.2 * 1.15 - 0.15 * luma, 0.4 * 1.15 - 0.15 * luma, 0.6 * 1.15 - 0.15 * luma], abs=1e-4
    )


def test_hue_keeps_luma_and_turns_chroma():
    red, green, blue = colour([0.0, 0.0, 0.0, 1.0], [0.8, 0.4, 0.3])
    assert 0.299 * red + 0.587 * green + 0.114 * blue == pytest.approx(
        0.299 * 0.8 + 0.587 * 0.4 + 0.114 * 0.3, abs=1e-4
    )
    assert abs(red - 0.8) > 0.005
    assert colour([0.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5]) == pytest.approx([0.5] * 3, abs=1e-4)


def test_blur_is_the_binomial_kernel():
    images = torch.zeros(2, 1, 5, 5)
    images[:, 0, 2, 2] = 16.0
    blurred = blur(images, torch.tensor([False, True]))
    assert blurred[0].equal(images[0])
    assert blurred[1, 0, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert blur(images, torch.tensor([False, False])).equal(images)


def test_noise_hits_the_chosen_images_with_the_given_deviation():
    images = torch.zeros(3, 3, 32, 32)
    noisy = add_noise(images, torch.tensor([0.0, 0.1, 0.0]), slice(0, 3), generator())
    assert noisy[0].abs().max() == noisy[2].abs().max() == 0
    assert noisy[1].std().item() == pytest.approx(0.1, rel=0.05)
    assert add_noise(images[:1], torch.tensor([0.0, 0.1, 0.0]), slice(0, 1), generator()).equal(images[:1])


@pytest.mark.parametrize("kind", ["none", "flips", "classical"])
def test_workers_see_their_share_of_the_same_augmentation(kind):
    images = torch.rand(12, 3, 16, 16, generator=generator())
    whole = augment(images, kind, generator(3), 12, slice(0, 12))
    shares = [slice(0, 4), slice(4, 8), slice(8, 12)]
    parts = torch.cat([augment(images[s], kind, generator(3), 12, s) for s in shares])
    assert torch.allclose(whole, parts, atol=1e-6)
    assert whole.equal(augment(images, kind, generator(3), 12, slice(0, 12)))
    assert whole.equal(images) == (kind == "none")
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_flips_never_transpose():
    images = torch.arange(4.0).view(1, 1, 2, 2).repeat(64, 1, 1, 1)
    seen = {tuple(i.flatten().tolist()) for i in augment(images, "flips", generator(), 64, slice(0, 64))}
    assert seen == {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}
