"""Deals groups that hold several classes to bins (parts, folds, training sets): rare classes first, none left out.

Shape legend: N images, G groups, C classes, B bins.

The first pass is iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label
Data", ECML PKDD 2011, Algorithm 1) with groups in the place of examples. Groups of one class are left to the caller, who
deals them out as if there were no others, against what the first pass has given. ``cover`` and ``settle`` then mend
what both left open. Where every group has one class none of this changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from engine.types import BoolArray, FloatArray, IntArray, StrArray, strings

UNDEALT: Final = -1
"""The bin of a group that ``deal_mixed`` leaves to the caller."""
DIGITS: Final = 6
"""Decimals of a gain that ``settle`` compares: rounding differs between machines and must not decide."""
MOST_NODES: Final = 2000
"""Branches that ``cover`` looks at before it gives up: a count, not a time, so that machines agree."""


def class_counts(
    group_N: StrArray, dx_N: StrArray, classes: Sequence[str] | None = None
) -> tuple[StrArray, StrArray, IntArray]:
    """Return the groups' names (G,) and the classes (C,), both rising, and each group's images per class (G, C).

    ``classes`` are all there are; None: those of ``dx_N``.
    """
    names_G, group_index_N = np.unique(group_N, return_inverse=True)
    classes_C = np.unique(dx_N if classes is None else strings(classes))
    class_index_N = np.searchsorted(classes_C, dx_N)
    count_GC = np.zeros((len(names_G), len(classes_C)), dtype=np.int64)
    np.add.at(count_GC, (group_index_N, class_index_N), 1)
    return strings(names_G.tolist()), strings(classes_C.tolist()), count_GC


def deal_mixed(
    weight_GC: IntArray | BoolArray, target_BC: FloatArray, must_B: BoolArray, rng: np.random.Generator
) -> IntArray:
    """Return the bin of each group of two or more classes, UNDEALT for the others.

    The class with fewest groups left is dealt out first. Each of its groups goes to a bin that still lacks the class,
    then to one that wants more of it; of those to the one that lacks most of the group's other classes, then to the one
    that wants most.

    Args:
        weight_GC: what a group adds to a bin of each class: its images, or 1 where it holds the class.
        target_BC: what each bin should hold.
        must_B: bins that need every class; the others only take what is left over.
        rng: orders groups that are alike.
    """
    holds_GC = weight_GC.astype(np.bool_)
    bin_G = np.full(len(weight_GC), UNDEALT, dtype=np.int64)
    rank_G = rng.permutation(len(weight_GC))
    need_BC = target_BC.astype(np.float64)
    lacks_BC = np.repeat(must_B[:, None], weight_GC.shape[1], axis=1)
    left_G = holds_GC.sum(axis=1) > 1
    single_C = holds_GC[~left_G].sum(axis=0)
    while left_G.any():
        waiting_C = holds_GC[left_G].sum(axis=0)
        column = int(np.argmin(np.where(waiting_C > 0, waiting_C + single_C, np.iinfo(np.int64).max)))
        chosen = np.flatnonzero(left_G & holds_GC[:, column])
        classes, sizes = holds_GC[chosen].sum(axis=1), weight_GC[chosen].sum(axis=1)
        for group in chosen[np.lexsort((rank_G[chosen], -sizes, -classes))]:
            taken = _best_bin(need_BC, lacks_BC, holds_GC[group], column)
            bin_G[group] = taken
            need_BC[taken] -= weight_GC[group]
            lacks_BC[taken] &= ~holds_GC[group]
        left_G[chosen] = False
    return bin_G


def _best_bin(need_BC: FloatArray, lacks_BC: BoolArray, holds_C: BoolArray, column: int) -> int:
    """Return the bin that a group holding ``holds_C`` goes to while class ``column`` is dealt out."""
    keys = (
        -need_BC.sum(axis=1),
        -need_BC[:, holds_C].sum(axis=1),
        -need_BC[:, column],
        -lacks_BC[:, holds_C].sum(axis=1),
        need_BC[:, column] <= 0,
        ~lacks_BC[:, column],
    )
    return int(np.lexsort(keys)[0])


def still_wanted(target_B: IntArray, given_B: IntArray, must_B: BoolArray, count: int) -> IntArray:
    """Return how many of ``count`` further groups of a class each bin gets, (B,) that sum to ``count``.

    A bin gets what it lacks of its target; where others have more than theirs, the largest get less. A bin that must
    hold the class and does not gets one before all others. ``target_B`` sums to the given groups and ``count``.
    """
    least_B = (must_B & (given_B == 0)).astype(np.int64)
    wanted_B = np.maximum(target_B - given_B, least_B)
    while wanted_B.sum() > count:
        wanted_B[int(np.argmax(np.where(wanted_B > 0, wanted_B - least_B, -1)))] -= 1
    return np.asarray(wanted_B, dtype=np.int64)


def cover(bin_G: IntArray, holds_GC: BoolArray, must_B: BoolArray) -> IntArray | None:
    """Return the assignment nearest to ``bin_G`` (fewest groups moved) in which no bin of ``must_B`` lacks a class.

    A class with fewer groups than such bins cannot be in all; it is then not all in one. It is a small integer program,
    solved only where something is lacking. None: there is no such assignment (or none was found in MOST_NODES branches).

    Args:
        bin_G: a bin for every group.
        holds_GC: whether a group holds a class.
        must_B: bins that need every class.
    """
    groups, bins, musts = len(bin_G), len(must_B), int(must_B.sum())
    held_BC = np.zeros((bins, holds_GC.shape[1]), dtype=np.int64)
    np.add.at(held_BC, bin_G, holds_GC.astype(np.int64))
    total_C = holds_GC.sum(axis=0)
    least_C = np.where(total_C >= musts, 1, 0)
    most_C = np.where((total_C >= musts) | (total_C < 2), total_C, total_C - 1)
    wrong_BC = must_B[:, None] & ((held_BC < least_C) | (held_BC > most_C))
    if not wrong_BC.any():
        return bin_G
    cost_GB = np.ones((groups, bins))
    cost_GB[np.arange(groups), bin_G] = 0.0
    one_each, class_each = _constraints(holds_GC, must_B)
    solved = milp(
        cost_GB.ravel(),
        integrality=np.ones(groups * bins),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(class_each, np.tile(least_C, musts), np.tile(most_C, musts)),
        ],
        options={"node_limit": MOST_NODES},
    )
    if solved.x is None:
        return None
    return np.asarray(solved.x.reshape(groups, bins).argmax(axis=1), dtype=np.int64)


def _constraints(holds_GC: BoolArray, must_B: BoolArray) -> tuple[csr_array, csr_array]:
    """Return what sums over variables (group, bin): bins per group, and groups per (bin of ``must_B``, class)."""
    (groups, classes), bins = holds_GC.shape, len(must_B)
    places = np.arange(groups * bins)
    one_each = csr_array((np.ones(len(places)), (places // bins, places)), shape=(groups, len(places)))
    member, column = np.nonzero(holds_GC)
    numbers = np.flatnonzero(must_B)
    row = np.concatenate([turn * classes + column for turn in range(len(numbers))])
    at = np.concatenate([member * bins + number for number in numbers])
    class_each = csr_array((np.ones(len(at)), (row, at)), shape=(len(numbers) * classes, len(places)))
    return one_each, class_each


def settle(
    bin_G: IntArray, weight_GC: IntArray | BoolArray, target_BC: npt.NDArray[np.generic], must_B: BoolArray
) -> IntArray:
    """Return ``bin_G`` after moving groups of several classes, one at a time, while that brings bins nearer to targets.

    Each time the move is made that lowers most the sum, over the bins of ``must_B``, of the squared distances from their
    targets in each class and in all of them together. Groups of one class stay where they are, and so does the last
    group of a class in a bin of ``must_B``.
    """
    mixed = np.flatnonzero(weight_GC.astype(np.bool_).sum(axis=1) > 1)
    if not len(mixed):
        return bin_G
    weight_GK = np.column_stack([weight_GC, weight_GC.sum(axis=1)]).astype(np.float64)
    need_BK = np.column_stack([target_BC, target_BC.sum(axis=1)]).astype(np.float64)
    np.subtract.at(need_BK, bin_G, weight_GK)
    held_BK = np.zeros(need_BK.shape, dtype=np.int64)
    np.add.at(held_BK, bin_G, (weight_GK > 0).astype(np.int64))
    bin_G, weight_MK, rows = bin_G.copy(), weight_GK[mixed], np.arange(len(mixed))
    holds_MK = weight_MK > 0
    square_M = (weight_MK**2).sum(axis=1)
    while True:
        pull_MB = 2.0 * weight_MK @ need_BK.T
        home_M = bin_G[mixed]
        leaving_M = (pull_MB[rows, home_M] + square_M) * must_B[home_M]
        change_MB = leaving_M[:, None] + (square_M[:, None] - pull_MB) * must_B
        last_M = must_B[home_M] & (holds_MK & (held_BK[home_M] == 1)).any(axis=1)
        change_MB[rows, home_M] = 0.0
        change_MB[last_M] = 0.0
        change_MB = change_MB.round(DIGITS)
        best, taken = np.unravel_index(int(np.argmin(change_MB)), change_MB.shape)
        if change_MB[best, taken] >= 0.0:
            return bin_G
        for number, sign in ((home_M[best], -1), (taken, 1)):
            need_BK[number] -= sign * weight_MK[best]
            held_BK[number] += sign * holds_MK[best]
        bin_G[mixed[best]] = taken
