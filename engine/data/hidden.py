"""Hides labels of train images, so that asking for labels can be studied: whole groups, class by class, seeded."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from engine.training.plan import derive_seed
from engine.training.stratify import class_counts
from engine.types import BoolArray, IntArray, LesionTable, StrArray


def hidden_rows(
    table: LesionTable,
    part_N: StrArray,
    group_N: StrArray,
    share: float,
    seed: int,
    *,
    set_N: IntArray | None = None,
    kept_sets: Collection[int] = (),
) -> BoolArray:
    """Return which images lose their label.

    Groups of several classes count for their rarest one. Of every class the share of groups is rounded, but a class that
    would lose its last group keeps one.

    Args:
        table: N images.
        part_N: their parts; only train is looked at.
        group_N: the group of each image.
        share: of the groups that may be hidden, above 0 and at most 1.
        seed: of the draw.
        set_N: the training set of each image, where sets are drawn.
        kept_sets: sets that keep their labels.
    """
    open_N = (part_N == "train") & (table.origin != "synthetic")
    if set_N is not None:
        open_N &= ~np.isin(group_N, group_N[np.isin(set_N, list(kept_sets))])
    rows = np.flatnonzero(open_N)
    names_G, classes_C, count_GC = class_counts(group_N[rows], table.dx[rows])
    shown_elsewhere = set() if set_N is None else set(table.dx[np.isin(set_N, list(kept_sets))].tolist())
    by_rarity = np.lexsort((classes_C, (count_GC > 0).sum(axis=0)))
    left_G, hidden_G = np.ones(len(names_G), dtype=np.bool_), np.zeros(len(names_G), dtype=np.bool_)
    for column in by_rarity.tolist():
        dx = str(classes_C[column])
        members = np.flatnonzero(left_G & (count_GC[:, column] > 0))
        left_G[members] = False
        most = len(members) if dx in shown_elsewhere else len(members) - 1
        count = max(min(round(share * len(members)), most), 0)
        order = np.random.default_rng(derive_seed(seed, "hide", dx)).permutation(len(members))
        hidden_G[members[order[:count]]] = True
    hidden_N = np.zeros(len(table), dtype=np.bool_)
    hidden_N[rows] = hidden_G[np.searchsorted(names_G, group_N[rows])]
    return hidden_N
