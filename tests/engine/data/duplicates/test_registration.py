"""Registration finds the shift, zoom and angle an image was moved by."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from engine.data.duplicates.registration import (
    ZOOMS,
    area_weights,
    detail,
    largest_shift,
    match,
    refine,
    shrink,
    spectra,
    warp,
    zoomed,
    zoomed_details,
)


def texture(side: int = 96) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (128 + 60 * ndimage.gaussian_filter(rng.normal(size=(side, side)), 1.2)).astype(np.float32)


def test_cells_are_plain_means() -> None:
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    assert shrink(image, 2)[0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert area_weights(2, 3) == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]))


def test_a_plain_image_has_no_detail() -> None:
    assert not detail(np.full((1, 16, 16), 7, np.float32)).any()


def test_detail_has_norm_one_and_forgets_brightness() -> None:
    image = texture(64)[None]
    found = detail(image)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)
    assert (found * detail(image + 40)).sum() == pytest.approx(1.0, abs=1e-3)


def test_match_finds_a_shift_and_a_zoom() -> None:
    wide = texture(44)
    first, second = wide[None, 6:38, 6:38], wide[None, 8:40, 5:37]
    agreed, placed = match(spectra(zoomed_details(first)), spectra(zoomed_details(second)), 32)
    assert agreed[0] > 0.7
    # a point of the first lies 2 rows higher and 1 column to the right in the second
    assert placed[0] == pytest.approx([0.0, 0.0, 1 / 16, -2 / 16], abs=1e-6)
    agreed, placed = match(
        spectra(zoomed_details(first)), spectra(zoomed_details(zoomed(first, ZOOMS[2]))), 32
    )
    assert placed[0, 0] == pytest.approx(np.log(ZOOMS[2]), abs=0.06)
    assert agreed[0] > 0.6


def test_largest_shift_is_an_eighth() -> None:
    assert (largest_shift(32), largest_shift(4)) == (4, 1)


@pytest.mark.parametrize(
    "moved", [(0.04, 0.03, 0.05, -0.02), (-0.05, -0.04, 0.0, 0.04), (0.0, 0.0, 0.03, 0.03)]
)
def test_refine_recovers_a_similarity(moved: tuple[float, ...]) -> None:
    image = ndimage.gaussian_filter(texture(64), 1.5)
    pixels = np.repeat(np.clip(128 + 3 * (image - 128), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    seen = warp(pixels, np.array(moved))[..., 0].astype(np.float32)[None]
    own = pixels[..., 0].astype(np.float32)[None]
    start = np.zeros((1, 4), np.float32)
    _, placed = refine(detail(shrink(seen, 32)), detail(shrink(own, 32)), start)
    agreed, placed = refine(detail(seen), detail(own), placed)
    assert placed[0] == pytest.approx(moved, abs=0.01)
    assert agreed[0] > 0.85


def test_refine_never_ends_worse_than_it_began() -> None:
    first, second = texture(64)[None], texture(96)[None, 20:84, 20:84]
    start = np.zeros((1, 4), np.float32)
    agreed, _ = refine(detail(first), detail(second), start)
    same, placed = refine(detail(first), detail(first), start)
    assert agreed[0] >= (detail(first) * detail(second)).sum() - 0.05
    assert same[0] == pytest.approx(1.0, abs=1e-4)
    assert not placed.any()


def test_warp_leaves_black_what_the_second_image_does_not_show() -> None:
    pixels = np.full((16, 16, 3), 200, np.uint8)
    seen = warp(pixels, np.array([0.0, 0.0, 0.5, 0.0]))
    assert (seen[:, :12] == 200).all() and not seen[:, 12:].any()
