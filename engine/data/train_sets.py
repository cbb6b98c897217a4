"""Draws disjoint training sets from the train part: whole groups, every class in its share, the same sets every time.

The sets are replicates: each is what a study with few images might have had, on one val and test part for all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.config import TrainSetsConfig, as_argument
from engine.data.splits import group_class, members_of
from engine.errors import DataError
from engine.training.plan import derive_seed
from engine.types import FloatArray, IntArray, LesionTable, StrArray

TOLERANCE = 0.05
"""A set, made of whole lesions, holds as many images as asked for within this share, or within an image a class."""


def draw_train_sets(table: LesionTable, group_N: StrArray, config: TrainSetsConfig, seed: int) -> IntArray:
    """Return the training set of each row, -1 where it is in none.

    Args:
        table: N images.
        group_N: the group of each train image, "" for images outside train.
        config: how many sets of how many images; ``use`` decides nothing, so the sets are the same whichever is used.
        seed: of the draw.

    The groups of a class come in a drawn order: first one to each set, then each to the set that lacks most images of
    the class, as long as that brings it nearer to its target.

    Raises:
        DataError: a class has fewer groups than there are sets, or the sets come out too small; one error for all.
    """
    groups = members_of(group_N)
    by_class: dict[str, list[str]] = {}
    for name, rows in groups.items():
        by_class.setdefault(group_class(table, rows), []).append(name)
    _refuse_rare_classes(by_class, config)
    sizes = {name: len(rows) for name, rows in groups.items()}
    totals = {dx: sum(sizes[name] for name in names) for dx, names in by_class.items()}
    targets = _targets(totals, config)
    set_N = np.full(len(table), -1, dtype=np.int64)
    short = np.zeros(config.count)
    for dx, names in sorted(by_class.items()):
        order = np.random.default_rng(derive_seed(seed, "train_sets", dx)).permutation(len(names))
        dealt, missing = _deal([names[k] for k in order], sizes, targets[dx], short)
        short += missing
        for name, number in dealt.items():
            set_N[groups[name]] = number
    _refuse_wrong_sizes(set_N, targets, sum(totals.values()), config)
    return set_N


def _targets(totals: Mapping[str, int], config: TrainSetsConfig) -> dict[str, float]:
    """Images a class and set: in the classes' own shares, or equally many up to what there is."""
    if config.per_class:
        return {dx: min(float(config.images), n / config.count) for dx, n in totals.items()}
    everything = sum(totals.values())
    return {dx: config.images * n / everything for dx, n in totals.items()}


def _deal(
    names: list[str], sizes: Mapping[str, int], target: float, short: FloatArray
) -> tuple[dict[str, int], FloatArray]:
    """Deal groups (in this order) to sets of about ``target`` images; return their sets, and what each set lacks.

    Of sets that lack equally much the one goes first that is ``short`` of most images in the classes before.
    """
    dealt: dict[str, int] = {}
    count = len(short)
    missing = np.full(count, target)
    for turn, name in enumerate(names):
        number = turn if turn < count else int(np.lexsort((-short, -missing))[0])
        if turn >= count and abs(missing[number] - sizes[name]) >= missing[number]:
            continue
        dealt[name] = number
        missing[number] -= sizes[name]
    return dealt, missing


def _refuse_rare_classes(by_class: Mapping[str, list[str]], config: TrainSetsConfig) -> None:
    rare = {dx: len(names) for dx, names in sorted(by_class.items()) if len(names) < config.count}
    if rare:
        found = ", ".join(f"{dx} {n}" for dx, n in rare.items())
        raise DataError(
            f"data.split.train_sets: every set needs each class, but train has fewer than {config.count} groups of images "
            f"(patients, lesions) of some: {found}; lower train_sets.count, raise data.split.train, or drop the class with "
            f"{as_argument('data.map_labels', {next(iter(rare)): 'null'})}"
        )


def _refuse_wrong_sizes(
    set_N: IntArray, targets: Mapping[str, float], everything: int, config: TrainSetsConfig
) -> None:
    wanted = sum(targets.values())
    found = [int(n) for n in np.bincount(set_N[set_N >= 0], minlength=config.count)]
    if any(abs(n - wanted) > max(TOLERANCE * wanted, len(targets)) for n in found):
        raise DataError(
            f"data.split.train_sets: {config.count} sets of {config.images} images cannot be made of the {everything} "
            f"images in train; they would hold {min(found)} to {max(found)}. Lower count or images, or raise "
            "data.split.train"
        )
