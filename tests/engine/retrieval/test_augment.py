"""Light augmentation: what it keeps, what it moves, and that only its random numbers decide."""

from __future__ import annotations

import torch

from engine.retrieval.augment import DRAWS, GAIN, SMALLEST_CROP, augment

STILL = [0.9, 0.9, 0.9, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
"""No flip, no transposition, whole image, unchanged colour."""


def uniform(**changes: float) -> torch.Tensor:
    values = list(STILL)
    for name, value in changes.items():
        values[int(name[1:])] = value
    return torch.tensor([values])


def picture() -> torch.Tensor:
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_still_numbers_change_nothing():
    torch.testing.assert_close(augment(picture(), uniform()), picture(), atol=1e-5, rtol=0)


def test_flips_and_transposition():
    image = picture()
    torch.testing.assert_close(augment(image, uniform(u0=0.1)), image.flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(augment(image, uniform(u1=0.1)), image.flip(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(augment(image, uniform(u2=0.1)), image.transpose(2, 3), atol=1e-5, rtol=0)


def test_smallest_crop_shows_that_share_of_a_ramp():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    cut = augment(ramp, uniform(u3=1.0))
    assert abs(float(cut.max() - cut.min()) - SMALLEST_CROP) < 0.02
    left = augment(ramp, uniform(u3=1.0, u4=0.0))
    assert float(left.min()) < 0.01 and abs(float(left.max()) - SMALLEST_CROP) < 0.02


def test_gain_scales_and_black_stays_black():
    grey = torch.full((1, 3, 4, 4), 0.5)
    torch.testing.assert_close(augment(grey, uniform(u6=1.0)), grey * (1 + GAIN))
    black = torch.zeros(5, 3, 8, 8)
    draws = torch.rand(5, DRAWS, generator=torch.Generator().manual_seed(1))
    assert augment(black, draws).abs().max() == 0


def test_saturation_moves_away_from_grey():
    image = torch.tensor([0.6, 0.4, 0.2]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    out = augment(image, uniform(u8=1.0))[0, :, 0, 0]
    torch.testing.assert_close(out, torch.tensor([0.64, 0.4, 0.16]))


def test_an_image_does_not_depend_on_its_batch():
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    draws = torch.rand(4, DRAWS, generator=torch.Generator().manual_seed(3))
    together = augment(images, draws)
    for row in range(4):
        torch.testing.assert_close(augment(images[row : row + 1], draws[row : row + 1])[0], together[row])
