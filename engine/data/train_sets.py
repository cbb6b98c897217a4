"""Draws disjoint training sets from the train part: whole groups, every class in its share, the same sets every time.

The sets are replicates: each is what a study with few images might have had, on one val and test part for all.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from engine.config import TrainSetsConfig
from engine.errors import DataError, TooFewGroupsError
from engine.training.plan import derive_seed
from engine.training.stratify import UNDEALT, class_counts, cover, deal_mixed, settle
from engine.types import BoolArray, FloatArray, IntArray, LesionTable, StrArray

TOLERANCE = 0.05
"""A set, made of whole lesions, holds as many images as asked for within this share, or within an image a class."""


def draw_train_sets(table: LesionTable, group_N: StrArray, config: TrainSetsConfig, seed: int) -> IntArray:
    """Return the training set of each row, -1 where it is in none.

    Args:
        table: N images.
        group_N: the group of each train image, "" for images outside train.
        config: how many sets of how many images; ``use`` decides nothing, so the sets are the same whichever is used.
        seed: of the draw.

    Groups of several classes are dealt first (``deal_mixed``; what no set takes is a bin too). The groups of one class
    come in a drawn order: first one to each set that has none, then each to the set that lacks most images of the
    class, as long as that brings it nearer to its target.

    Raises:
        TooFewGroupsError: a class has fewer groups than there are sets, or no draw gives every set every class.
        DataError: the sets come out too small or too large.
    """
    inside = np.flatnonzero(group_N != "")
    names_G, classes_C, count_GC = class_counts(group_N[inside], table.dx[inside])
    holds_GC = count_GC > 0
    _refuse_rare_classes(classes_C, holds_GC.sum(axis=0), config)
    total_C, rest = count_GC.sum(axis=0), config.count
    target_C = _targets(total_C, config)
    target_BC = np.vstack([np.tile(target_C, (rest, 1)), total_C - rest * target_C])
    must_B = np.arange(rest + 1) < rest
    bin_G = _first_draw(classes_C, count_GC, target_BC, must_B, seed)
    covered_G = cover(bin_G, holds_GC, must_B)
    if covered_G is None:
        _refuse_shared(classes_C, holds_GC, bin_G, config)
    set_N = np.full(len(table), -1, dtype=np.int64)
    set_G = settle(covered_G, count_GC, target_BC, must_B)
    set_N[inside] = set_G[np.searchsorted(names_G, group_N[inside])]
    set_N[set_N == rest] = -1
    _refuse_wrong_sizes(set_N, float(target_C.sum()), int(total_C.sum()), config, len(classes_C))
    return set_N


def _first_draw(
    classes_C: StrArray, count_GC: IntArray, target_BC: FloatArray, must_B: BoolArray, seed: int
) -> IntArray:
    """Return the set of each group, the last bin where it is in none; those of several classes come first."""
    rest = len(must_B) - 1
    rng = np.random.default_rng(derive_seed(seed, "mixed", "train_sets"))
    bin_G = deal_mixed(count_GC, target_BC, must_B, rng)
    single_G = bin_G == UNDEALT
    bin_G[single_G] = rest
    short = np.zeros(rest)
    for column, dx in enumerate(classes_C):
        members = np.flatnonzero(single_G & (count_GC[:, column] > 0))
        order = np.random.default_rng(derive_seed(seed, "train_sets", str(dx))).permutation(len(members))
        given_B = np.bincount(bin_G, weights=count_GC[:, column], minlength=rest + 1)
        missing = target_BC[:rest, column] - given_B[:rest]
        empty = np.flatnonzero(given_B[:rest] == 0).tolist()
        bin_G[members[order]] = _deal(count_GC[members[order], column], missing, empty, short)
        short += missing
    return bin_G


def _targets(total_C: IntArray, config: TrainSetsConfig) -> FloatArray:
    """Images per class and set, (C,): in the classes' own shares, or equally many up to what there is."""
    if config.per_class:
        return np.minimum(float(config.images), total_C / config.count)
    return np.asarray(config.images * total_C / total_C.sum(), dtype=np.float64)


def _deal(size_M: IntArray, missing_K: FloatArray, empty: list[int], short_K: FloatArray) -> IntArray:
    """Deal M groups (in this order) to K sets; return the set of each, K where it is in none.

    Each set in ``empty`` gets one first. Of sets that lack equally many images of the class the one goes first that is
    ``short_K`` of most in the classes before. ``missing_K``, what each set lacks, is brought up to date.
    """
    set_M = np.full(len(size_M), len(missing_K), dtype=np.int64)
    for turn, size in enumerate(size_M):
        first = turn < len(empty)
        number = empty[turn] if first else int(np.lexsort((-short_K, -missing_K))[0])
        if not first and abs(missing_K[number] - size) >= missing_K[number]:
            continue
        set_M[turn] = number
        missing_K[number] -= size
    return set_M


def _refuse_rare_classes(classes_C: StrArray, groups_C: IntArray, config: TrainSetsConfig) -> None:
    rare = {str(dx): int(n) for dx, n in zip(classes_C, groups_C, strict=True) if n < config.count}
    if rare:
        found = ", ".join(f"{dx} {n}" for dx, n in rare.items())
        raise TooFewGroupsError(
            f"data.split.train_sets: every set needs each class, but train has fewer than {config.count} groups of images "
            f"(patients, lesions) of some: {found}",
            rare,
        )


def _refuse_shared(
    classes_C: StrArray, holds_GC: BoolArray, bin_G: IntArray, config: TrainSetsConfig
) -> NoReturn:
    held_BC = np.array([holds_GC[bin_G == number].any(axis=0) for number in range(config.count)])
    rare = {str(classes_C[k]): int(holds_GC[:, k].sum()) for k in np.flatnonzero(~held_BC.all(axis=0))}
    found = ", ".join(f"{dx} {n}" for dx, n in rare.items())
    raise TooFewGroupsError(
        f"data.split.train_sets: the groups of images (patients, lesions) of some classes show other rare classes too, "
        f"so that no draw gives each of {config.count} sets every class: {found}",
        rare,
    )


def _refuse_wrong_sizes(
    set_N: IntArray, wanted: float, everything: int, config: TrainSetsConfig, classes: int
) -> None:
    found = [int(n) for n in np.bincount(set_N[set_N >= 0], minlength=config.count)]
    if any(abs(n - wanted) > max(TOLERANCE * wanted, classes) for n in found):
        whole = (
            " or set data.split.train_sets.per_class=false (groups of several classes stay whole)"
            if config.per_class and max(found) > wanted
            else ""
        )
        raise DataError(
            f"data.split.train_sets: {config.count} sets of {config.images} images cannot be made of the {everything} "
            f"images in train; they would hold {min(found)} to {max(found)}. Lower count or images, or raise "
            f"data.split.train{whole}"
        )
