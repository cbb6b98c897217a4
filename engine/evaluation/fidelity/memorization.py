"""How close synthetic images come to the train images, as cosine distance between unit feature rows.

Shape legend: S samples, N train images, F feature width.
A sample nearer to a train image than different train lesions ever are to each other is likely a copy.
Products are torch's, because its thread count is fixed by the stage (numpy's is not, and bits may depend on it).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import StageError
from engine.types import FloatArray, IntArray, StrArray

PERCENTILES: tuple[int, ...] = (1, 5, 25, 50, 75, 95, 99)
"""The percentiles acceptance policies may name."""

_BLOCK = 512
_UNIT_TOLERANCE = 1e-3


def nearest(features_SF: FloatArray, train_NF: FloatArray) -> tuple[npt.NDArray[np.float64], IntArray]:
    """Return each sample's cosine distance (0-2) to its nearest train image, and that image's row.

    Of equally near train images the first row is named. No samples give two empty arrays.

    Args:
        features_SF: unit feature rows of the samples.
        train_NF: unit feature rows of the train images, N >= 1.

    Raises:
        ValueError: widths differ, there is no train row, or rows are not of length 1.
    """
    _check(features_SF, train_NF)
    distance_S = np.empty(len(features_SF), dtype=np.float64)
    index_S = np.empty(len(features_SF), dtype=np.int64)
    for start in range(0, len(features_SF), _BLOCK):
        rows = slice(start, start + _BLOCK)
        similarity = _similarity(features_SF[rows], train_NF)
        index_S[rows] = np.argmax(similarity, axis=1)
        distance_S[rows] = 1.0 - similarity.max(axis=1)
    return np.clip(distance_S, 0.0, 2.0), index_S


def nearest_other_lesion(train_NF: FloatArray, lesion_id: StrArray) -> npt.NDArray[np.float64]:
    """Return each train image's cosine distance (0-2) to the nearest image of another lesion, (N,).

    Args:
        train_NF: unit feature rows.
        lesion_id: (N,) lesion of each row; rows of one lesion are never each other's neighbour.

    Raises:
        StageError: all images show one lesion, so there is no other lesion to compare with.
    """
    _check(train_NF, train_NF)
    _, lesion_N = np.unique(lesion_id, return_inverse=True)
    if len(lesion_N) != len(train_NF):
        raise ValueError(f"lesion_id has {len(lesion_N)} entries for {len(train_NF)} feature rows")
    if lesion_N.max() == 0:
        raise StageError(
            f"train holds {len(train_NF)} image(s) of one lesion; distances between lesions need two or more: "
            "raise data.limit or data.split.train"
        )
    distance_N = np.empty(len(train_NF), dtype=np.float64)
    for start in range(0, len(train_NF), _BLOCK):
        rows = slice(start, start + _BLOCK)
        similarity = _similarity(train_NF[rows], train_NF)
        similarity[lesion_N[rows, None] == lesion_N[None, :]] = -np.inf
        distance_N[rows] = 1.0 - similarity.max(axis=1)
    return np.clip(distance_N, 0.0, 2.0)


def nearest_other_lesion_quantiles(
    train_NF: FloatArray, lesion_id: StrArray, percentiles: Sequence[int] = PERCENTILES
) -> dict[int, float]:
    """Return percentile -> distance between an image and the nearest image of a different lesion.

    This is the yardstick of memorization: a synthetic image below the 1st percentile is closer to a train
    lesion than 99 % of train images are to any lesion but their own.

    Raises:
        StageError: fewer than two lesions.
    """
    distances = nearest_other_lesion(train_NF, lesion_id)
    return {int(p): float(np.percentile(distances, p)) for p in percentiles}


def _similarity(left: FloatArray, right: FloatArray) -> npt.NDArray[np.float64]:
    """Dot products of all pairs of rows in float64."""
    a, b = (torch.from_numpy(np.array(rows, dtype=np.float64)) for rows in (left, right))
    product: npt.NDArray[np.float64] = (a @ b.T).numpy()
    return product


def _check(left: FloatArray, right: FloatArray) -> None:
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(
            f"feature arrays must be (rows, width) of one width, got {left.shape} and {right.shape}"
        )
    if len(right) == 0:
        raise ValueError("there are no train features to compare with")
    for name, array in (("samples", left), ("train", right)):
        length = np.linalg.norm(array, axis=1)
        if not np.all(np.abs(length - 1.0) < _UNIT_TOLERANCE):
            raise ValueError(
                f"feature rows of {name} must have length 1; found {length.min():.4g} to {length.max():.4g}"
            )
