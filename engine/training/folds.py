"""Assigns groups of lesions to cross-fitting folds: a group's photographs stay together, every class is spread evenly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.errors import DataError
from engine.training.plan import derive_seed
from engine.types import IntArray


def with_groups(split: pd.DataFrame) -> pd.DataFrame:
    """Return split.parquet's table with column ``group``, what belongs together: the lesions in an older file without."""
    return split if "group" in split else split.assign(group=split["lesion_id"])


def lesion_folds(
    group_N: npt.NDArray[np.str_], dx_N: npt.NDArray[np.str_], folds: int, seed: int
) -> IntArray:
    """Return the fold 0..folds-1 of each of N images.

    The groups of a class are shuffled (by ``seed``) and dealt out in turn; the next class goes on where the last
    one stopped. So folds differ by at most one group, in each class and in all. A group belongs to the class of
    its first image.

    Raises:
        DataError: fewer groups than folds.
    """
    groups, first = np.unique(group_N, return_index=True)
    if len(groups) < folds:
        raise DataError(
            f"folds: {folds} folds need at least {folds} lesions (patients, where they are known) but train has "
            f"{len(groups)}; lower folds"
        )
    fold_of: dict[str, int] = {}
    for dx in sorted({str(name) for name in dx_N[first]}):
        members = groups[dx_N[first] == dx]
        order = np.random.default_rng(derive_seed(seed, "folds", dx)).permutation(len(members))
        for group in members[order]:
            fold_of[str(group)] = len(fold_of) % folds
    return np.array([fold_of[str(group)] for group in group_N], dtype=np.int64)
