"""Masks from file, by Otsu, whole; Eq. 1 by hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from engine.data import masks
from engine.data.decoding import decode_image
from engine.data.images import decode_mask
from engine.data.masks import binary_mask, choose_mask, extract_lesion, lesion_box, otsu_mask, otsu_threshold

SKIN, LESION = (220, 170, 160), (90, 60, 50)


def scene(
    size: int = 64, centre: tuple[int, int] = (32, 32), radius: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size]
    disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    noise = np.random.default_rng(0).integers(-6, 7, (size, size, 3))
    return np.clip(np.where(disc[..., None], LESION, SKIN) + noise, 0, 255).astype(np.uint8), disc


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a & b) / np.sum(a | b))


def test_otsu_threshold_lies_between_two_peaks() -> None:
    values = np.concatenate([np.full(300, 10.0), np.full(100, 20.0)])
    assert otsu_threshold(values) == pytest.approx(15.0, abs=0.1)


def test_otsu_mask_finds_the_disc() -> None:
    image, disc = scene()
    mask = otsu_mask(image)
    assert set(np.unique(mask)) == {0, 255}
    assert jaccard(mask > 0, disc) > 0.75


def test_otsu_mask_prefers_the_centre_to_a_dark_corner_and_fills_holes() -> None:
    image, disc = scene()
    image[:14, :14] = 0
    image[31:33, 31:33] = SKIN
    mask = otsu_mask(image) > 0
    assert not mask[:10, :10].any()
    assert mask[31:33, 31:33].all()
    assert jaccard(mask, disc) > 0.6


def otsu_by_scipy(image_HWC: np.ndarray) -> np.ndarray:
    """The mask by scipy's morphology, as it was written first."""
    side = min(image_HWC.shape[:2])
    dark = -ndimage.gaussian_filter(image_HWC[..., 2].astype(np.float64), masks.BLUR * side)
    threshold = otsu_threshold(dark)
    skin = float(np.median(dark[dark <= threshold])) if (dark <= threshold).any() else threshold
    found = dark > threshold - masks.LOWER_THRESHOLD * (threshold - skin)
    rounds = max(1, round(masks.DILATE * side))
    found = ndimage.binary_opening(found, iterations=rounds)
    labels, count = ndimage.label(found)
    if count:
        height, width = found.shape
        y, x = np.mgrid[:height, :width]
        square = ((y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2) / (side / 2) ** 2
        mass = ndimage.sum_labels(np.exp(-2 * square), labels, range(1, count + 1))
        found = labels == int(np.argmax(mass)) + 1
    found = ndimage.binary_dilation(found, iterations=rounds)
    return np.where(ndimage.binary_fill_holes(found), 255, 0).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(5, 9), (16, 16), (64, 64), (128, 96), (300, 300)])
def test_otsu_mask_is_that_of_scipys_morphology(height: int, width: int) -> None:
    """Blobs of all sizes, at the frame's edge too, with holes and diagonal bridges; symmetric frames, whose parts tie."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        coarse = rng.random((3 + seed % 9, 3 + seed % 7))
        blobs = ndimage.zoom(coarse, (height / coarse.shape[0], width / coarse.shape[1]), order=seed % 2)[
            :height, :width
        ]
        blobs = np.pad(blobs, [(0, height - blobs.shape[0]), (0, width - blobs.shape[1])])
        if seed % 4 == 3:
            blobs = np.maximum(blobs, blobs[:, ::-1])
        noisy = np.clip(blobs + rng.normal(scale=0.02 * (seed % 3), size=blobs.shape), 0, 1)
        image = np.repeat((255 * noisy)[..., None], 3, axis=2).astype(np.uint8)
        np.testing.assert_array_equal(otsu_mask(image), otsu_by_scipy(image), err_msg=str(seed))


def test_constant_image_has_no_lesion_and_falls_back_to_the_whole() -> None:
    flat = np.full((32, 32, 3), 100, np.uint8)
    mask, kind, degenerate = choose_mask(flat, None, "otsu")
    assert (kind, degenerate) == ("none", False)
    assert np.all(mask == 255)


@pytest.mark.parametrize(
    ("mode", "given", "kind", "degenerate"),
    [
        ("file", "disc", "file", False),
        ("file", None, "otsu", False),
        ("file", "speck", "otsu", True),
        ("otsu", "disc", "otsu", False),
        ("none", "disc", "none", False),
    ],
)
def test_choice_of_mask(mode: str, given: str | None, kind: str, degenerate: bool) -> None:
    image, disc = scene()
    speck = np.zeros((64, 64), np.uint8)
    speck[0, :4] = 255
    masks = {"disc": (disc * 255).astype(np.uint8), "speck": speck, None: None}
    mask, found, broken = choose_mask(image, masks[given], mode)
    assert (found, broken) == (kind, degenerate)
    assert mask.shape == (64, 64)
    assert np.all(mask == 255) == (kind == "none")


def test_binary_mask_reads_both_conventions() -> None:
    assert binary_mask(np.array([[0, 1]], np.uint8)).tolist() == [[0, 255]]
    assert binary_mask(np.array([[100, 200]], np.uint8)).tolist() == [[0, 255]]


def test_equation_one() -> None:
    images = np.full((1, 2, 2, 3), 7, np.uint8)
    masks = np.array([[[255, 0], [0, 255]]], np.uint8)
    lesions = extract_lesion(images, masks)
    assert lesions[0, :, :, 0].tolist() == [[7, 0], [0, 7]]
    assert lesions.dtype == np.uint8


def test_lesion_box_is_square_with_margin_inside_the_frame() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 20:30] = 255
    assert lesion_box(mask) == (13, 8, 37, 32)
    mask[:, :] = 0
    mask[:20, :5] = 255
    assert lesion_box(mask) == (0, 0, 24, 24)
    mask[:] = 255
    assert lesion_box(mask) == lesion_box(np.zeros((64, 64), np.uint8)) == (0, 0, 64, 64)


def test_bbox_cut_fills_the_frame_and_keeps_its_size() -> None:
    image, disc = scene(centre=(20, 40), radius=8)
    mask = (disc * 255).astype(np.uint8)
    plain = extract_lesion(image[None], mask[None])
    cut = extract_lesion(image[None], mask[None], "bbox")
    assert cut.shape == plain.shape
    assert np.mean(cut[0].sum(-1) > 0) > 3 * np.mean(plain[0].sum(-1) > 0)
    assert extract_lesion(image[None][:0], mask[None][:0], "bbox").shape == (0, 64, 64, 3)


@pytest.mark.real_data
@pytest.mark.skipif("HARDCASE_DATA" not in os.environ, reason="HARDCASE_DATA is not set")
def test_otsu_agrees_with_ham10000_masks() -> None:
    root = Path(os.environ["HARDCASE_DATA"]) / "ham10000"
    names = sorted(p.stem for p in (root / "images").glob("*.jpg"))[::200]
    scores = [
        jaccard(
            otsu_mask(decode_image(root / "images" / f"{name}.jpg", 64)) > 0,
            decode_mask(root / "masks" / f"{name}_segmentation.png", 64) > 0,
        )
        for name in names
    ]
    assert float(np.median(scores)) > 0.8
