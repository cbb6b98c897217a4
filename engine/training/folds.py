"""Assigns groups of lesions to cross-fitting folds: a group's photographs stay together, every class is spread evenly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.errors import DataError
from engine.training.plan import derive_seed
from engine.training.stratify import UNDEALT, class_counts, cover, deal_mixed, settle
from engine.types import IntArray


def with_groups(split: pd.DataFrame) -> pd.DataFrame:
    """Return split.parquet's table with column ``group``, what belongs together: the lesions in an older file without."""
    return split if "group" in split else split.assign(group=split["lesion_id"])


def lesion_folds(
    group_N: npt.NDArray[np.str_], dx_N: npt.NDArray[np.str_], folds: int, seed: int
) -> IntArray:
    """Return the fold 0..folds-1 of each of N images.

    Groups of several classes are dealt first (``deal_mixed``). The groups of one class are shuffled (by ``seed``) and
    go to the fold with fewest groups of the class, of those to the fold with fewest groups: where no group has
    several classes, folds differ by at most one group, in each class and in all. Every fold gets each class that has
    enough groups for that, wherever there is a way.

    Raises:
        DataError: fewer groups than folds.
    """
    names_G, classes_C, count_GC = class_counts(group_N, dx_N)
    if len(names_G) < folds:
        raise DataError(
            f"folds: {folds} folds need at least {folds} lesions (patients, where they are known) but train has "
            f"{len(names_G)}; lower folds"
        )
    holds_GC, every = count_GC > 0, np.ones(folds, dtype=np.bool_)
    target_FC = np.tile(holds_GC.sum(axis=0) / folds, (folds, 1))
    rng = np.random.default_rng(derive_seed(seed, "mixed", "folds"))
    fold_G = deal_mixed(holds_GC, target_FC, every, rng)
    dealt = np.flatnonzero(fold_G != UNDEALT)
    held_FC = np.zeros(target_FC.shape, dtype=np.int64)
    np.add.at(held_FC, fold_G[dealt], holds_GC[dealt].astype(np.int64))
    size_F = np.bincount(fold_G[dealt], minlength=folds)
    for column, dx in enumerate(classes_C):
        members = np.flatnonzero((fold_G == UNDEALT) & holds_GC[:, column])
        order = np.random.default_rng(derive_seed(seed, "folds", str(dx))).permutation(len(members))
        for group in members[order]:
            fold = int(np.lexsort((size_F, held_FC[:, column]))[0])
            fold_G[group] = fold
            held_FC[fold, column] += 1
            size_F[fold] += 1
    covered_G = cover(fold_G, holds_GC, every)
    fold_G = settle(fold_G if covered_G is None else covered_G, holds_GC, target_FC, every)
    return fold_G[np.searchsorted(names_G, group_N)]
