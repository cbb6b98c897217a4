"""Assigns lesions to cross-fitting folds: a lesion's photographs stay together, every class is spread evenly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.train_plan import derive_seed
from engine.types import IntArray


def lesion_folds(
    lesion_N: npt.NDArray[np.str_], dx_N: npt.NDArray[np.str_], folds: int, seed: int
) -> IntArray:
    """Return the fold 0..folds-1 of each of N images.

    The lesions of a class are shuffled (by ``seed``) and dealt out in turn; the next class goes on where the last
    one stopped. So folds differ by at most one lesion, in each class and in all. A lesion belongs to the class of
    its first image.

    Raises:
        DataError: fewer lesions than folds.
    """
    lesions, first = np.unique(lesion_N, return_index=True)
    if len(lesions) < folds:
        raise DataError(
            f"folds: {folds} folds need at least {folds} lesions but train has {len(lesions)}; lower folds"
        )
    fold_of: dict[str, int] = {}
    for dx in sorted({str(name) for name in dx_N[first]}):
        members = lesions[dx_N[first] == dx]
        order = np.random.default_rng(derive_seed(seed, "folds", dx)).permutation(len(members))
        for lesion in members[order]:
            fold_of[str(lesion)] = len(fold_of) % folds
    return np.array([fold_of[str(lesion)] for lesion in lesion_N], dtype=np.int64)
