"""One lesion twice is found in spite of colour, light and framing; look-alikes are not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from engine.config import DataConfig
from engine.data.duplicates import detail_threshold, find_duplicates
from engine.data.images import decode_image
from engine.data.readers import read
from engine.types import strings


def quiet(what: str, done: int, total: int) -> None:
    """Say nothing."""


def skins(count: int, size: int = 72) -> np.ndarray:
    """Discs of one place and size on textures of their own: alike in outline, different in detail."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:size, :size]
    disc = ndimage.gaussian_filter(((y - 36) ** 2 + (x - 36) ** 2 < 200).astype(float), 2)
    texture = ndimage.gaussian_filter(rng.normal(size=(count, size, size)), (0, 1, 1)) * 60
    grey = 200 - 100 * disc + texture
    return np.clip(np.repeat(grey[..., None], 3, axis=-1), 0, 255).astype(np.uint8)


def test_shifted_recoloured_copy_is_found_and_nothing_else() -> None:
    wide = skins(12)
    images = wide[:, 4:68, 4:68]
    copy = np.clip(wide[3, 6:70, 1:65] * np.array([0.8, 0.9, 1.0]) + 10, 0, 255).astype(np.uint8)
    found = find_duplicates(
        np.concatenate([images, copy[None]]), strings([f"L{i}" for i in range(13)]), quiet
    )
    assert found.pairs_P2.tolist() == [[3, 12]]
    assert 0 <= found.distance_P[0] < 0.4


def test_pairs_of_one_lesion_are_not_reported() -> None:
    images = skins(4)[:, 4:68, 4:68][[0, 0, 1, 2, 3]]
    assert len(find_duplicates(images, strings(["A", "A", "B", "C", "D"]), quiet).pairs_P2) == 0
    assert find_duplicates(images, strings(["A", "E", "B", "C", "D"]), quiet).pairs_P2.tolist() == [[0, 1]]


def test_many_equal_images_are_look_alikes_not_duplicates() -> None:
    images = np.repeat(skins(1), 8, axis=0)
    noisy = np.clip(images + np.random.default_rng(0).integers(-8, 9, images.shape), 0, 255).astype(np.uint8)
    assert len(find_duplicates(noisy, strings([str(i) for i in range(8)]), quiet).pairs_P2) == 0


def test_larger_images_are_compared_as_thumbnails() -> None:
    images = np.repeat(np.repeat(skins(5)[:, 4:68, 4:68], 2, axis=1), 2, axis=2)[[0, 1, 2, 3, 4, 2]]
    assert find_duplicates(images, strings(list("abcdef")), quiet).pairs_P2.tolist() == [[2, 5]]


def test_two_plain_images() -> None:
    images = np.full((2, 16, 16, 3), 9, np.uint8)
    assert len(find_duplicates(images, strings(["a", "b"]), quiet).pairs_P2) == 0


def test_threshold_rises_where_pixels_are_few() -> None:
    assert detail_threshold(64) == pytest.approx(0.47)
    assert detail_threshold(32) > 0.8


def test_phantoms_hold_no_duplicates() -> None:
    config = DataConfig.model_validate({"image_size": 32, "phantom": {"lesions": 40, "views": 1}})
    source = read(config, 0)
    assert source.frames is not None
    assert len(find_duplicates(np.stack(source.frames), source.table.lesion_id, quiet).pairs_P2) == 0


@pytest.mark.real_data
@pytest.mark.skipif("HARDCASE_DATA" not in os.environ, reason="HARDCASE_DATA is not set")
def test_ham10000_pair_under_two_lesion_ids() -> None:
    folder = Path(os.environ["HARDCASE_DATA"]) / "ham10000" / "images"
    names = ["ISIC_0025226", "ISIC_0030074", "ISIC_0029152", "ISIC_0033173"]
    names += sorted(p.stem for p in folder.glob("*.jpg"))[:40]
    images = np.stack([decode_image(folder / f"{name}.jpg", 64) for name in names])
    found = find_duplicates(images, strings([str(i) for i in range(len(names))]), quiet)
    assert found.pairs_P2.tolist() == [[0, 1], [2, 3]]
