"""Who has the phantom lesions: how many of each class, and age, sex and body site as they go with it.

Proportions are HAM10000's (Tschandl, Rosendahl and Kittler 2018): images per class, mean age, and the shares of sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from engine.types import IntArray

HAM_IMAGES: Final[Mapping[str, int]] = {
    "akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142,
}  # fmt: skip
LEAST_LESIONS: Final = 8
"""Lesions each class gets however rare it is, where there are lesions enough: one a part of any sensible split."""

_AGE: Final[Mapping[str, tuple[float, float]]] = {
    "akiec": (67, 11), "bcc": (67, 13), "bkl": (64, 13), "df": (53, 14), "mel": (61, 15), "nv": (46, 15), "vasc": (51, 20),
}  # fmt: skip
_MALE: Final[Mapping[str, float]] = {
    "akiec": 0.67, "bcc": 0.62, "bkl": 0.57, "df": 0.55, "mel": 0.62, "nv": 0.52, "vasc": 0.49,
}  # fmt: skip
_SITES: Final = (
    "abdomen", "back", "chest", "face", "foot", "hand", "lower extremity", "neck", "scalp", "trunk", "upper extremity",
)  # fmt: skip
_SITE_WEIGHTS: Final[Mapping[str, tuple[int, ...]]] = {
    "akiec": (2, 9, 4, 35, 0, 4, 20, 3, 4, 0, 19),
    "bcc": (4, 36, 9, 21, 1, 0, 11, 3, 4, 2, 9),
    "bkl": (4, 19, 7, 30, 0, 1, 16, 3, 3, 7, 10),
    "df": (3, 2, 0, 0, 2, 0, 71, 0, 0, 0, 22),
    "mel": (6, 30, 6, 9, 3, 0, 18, 3, 1, 4, 20),
    "nv": (13, 22, 3, 1, 4, 1, 23, 2, 1, 20, 10),
    "vasc": (19, 16, 4, 6, 0, 4, 20, 1, 0, 22, 8),
}


def class_counts(lesions: int, imbalance: float) -> dict[str, int]:
    """Return lesions per class, summing to ``lesions``: shares go as HAM10000's to the power ``imbalance``.

    0 gives equal classes, 1 HAM10000's proportions (nv 67 %). Each class gets at least LEAST_LESIONS, or a seventh
    of ``lesions`` where there are fewer.
    """
    names = sorted(HAM_IMAGES)
    weight = np.array([HAM_IMAGES[name] for name in names], dtype=np.float64) ** imbalance
    least = min(LEAST_LESIONS, lesions // len(names))
    counts = np.full(len(names), least)
    wanted = lesions * weight / weight.sum()
    while counts.sum() < lesions:
        counts[int(np.argmax((wanted + 1e-9) / (counts + 0.5)))] += 1
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def assign_classes(counts: Mapping[str, int], rng: np.random.Generator) -> list[str]:
    """Return the class of each lesion in a random order, so that neither ids nor position give it away."""
    ordered = [name for name in sorted(counts) for _ in range(counts[name])]
    order: IntArray = rng.permutation(len(ordered)).astype(np.int64)
    return [ordered[position] for position in order]


def draw_person(dx: str, rng: np.random.Generator) -> tuple[float, str, str]:
    """Draw (age in years by fives, NaN for about 1 %; sex; body site) for a lesion of class ``dx``."""
    mean, spread = _AGE[dx]
    age = float(np.clip(5.0 * np.round(rng.normal(mean, spread) / 5.0), 5.0, 85.0))
    sex = "male" if rng.random() < _MALE[dx] else "female"
    weights = np.array(_SITE_WEIGHTS[dx], dtype=np.float64)
    site = str(rng.choice(_SITES, p=weights / weights.sum()))
    return (float("nan") if rng.random() < 0.01 else age), sex, site
