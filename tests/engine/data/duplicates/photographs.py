"""Draws a patch of skin with a lesion, photographs of it, and what photographs share without showing one lesion."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SIZE = (150, 200)


def skin(seed: int, side: int = 400) -> np.ndarray:
    """Return (side, side) grey, 0-255: an irregular blot of dots and streaks on mottled skin, other for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    edge = ndimage.gaussian_filter(rng.normal(size=(side, side)), 14) * 14 * 18
    inside = ndimage.gaussian_filter((np.hypot(x, y) + edge < 45).astype(float), 2)
    fine = ndimage.gaussian_filter(rng.normal(size=(side, side)), 2) * 7
    coarse = ndimage.gaussian_filter(rng.normal(size=(side, side)), 5) * 17
    return np.clip(190 - 70 * inside + (12 + 22 * inside) * (fine + coarse) / 2, 0, 255)


def photograph(
    grey: np.ndarray,
    *,
    degrees: float = 0.0,
    zoom: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    colour: tuple[float, float, float] = (1.0, 0.8, 0.75),
    blur: float = 0.0,
    noise: int = 0,
) -> np.ndarray:
    """Return (h, w, 3) uint8: the patch turned about its middle, enlarged, shifted (y, x pixels), recoloured, blurred."""
    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = (np.array(SIZE) - 1) / 2 + np.array(shift)
    offset = (np.array(grey.shape) - 1) / 2 - matrix @ middle
    seen = ndimage.affine_transform(grey, matrix, offset, output_shape=SIZE, order=3)
    seen = ndimage.gaussian_filter(seen, blur) + np.random.default_rng(noise).normal(0, 2, SIZE)
    return np.clip(seen[..., None] * np.array(colour), 0, 255).astype(np.uint8)


def with_ruler(image: np.ndarray, top: int = 120) -> np.ndarray:
    """Return the image with a printed scale along a line: equal ticks, every fifth longer."""
    marked = image.copy()
    marked[top : top + 2, 30:170] = 15
    for tick, left in enumerate(range(30, 170, 6)):
        marked[top - (10 if tick % 5 == 0 else 6) : top, left : left + 2] = 15
    return marked


def with_hairs(image: np.ndarray, seed: int) -> np.ndarray:
    """Return the image with six dark straight hairs at random."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    hairy = image.copy()
    for _ in range(6):
        angle, at = rng.uniform(0, np.pi), rng.uniform([20, 20], [130, 180])
        hairy[np.abs((y - at[0]) * np.cos(angle) - (x - at[1]) * np.sin(angle)) < 0.9] = (40, 30, 25)
    return hairy


def in_dark_rim(image: np.ndarray) -> np.ndarray:
    """Return the image as a dermatoscope with a round field of view shows it."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    light = 1 / (1 + np.exp((np.hypot(y - 75, x - 100) - 84) / 1.5))
    return (image * light[..., None]).astype(np.uint8)
