"""Splits groups of images into train, mine, val and test: stratified by class, no group in two parts.

A group is everything that must stay together: the images of one patient, of one lesion, and near-duplicates.
A group counts for every class it shows; those of several classes are dealt first, rare classes before common ones
(``engine/training/stratify.py``). Nothing here depends on the order of rows: groups are named by their smallest image_id
and sorted. Images without a diagnosis are a part of their own, but where their group is held out they are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from engine.config import FoldsConfig, SplitConfig
from engine.errors import TooFewGroupsError
from engine.training.folds import lesion_folds
from engine.training.plan import derive_seed
from engine.training.stratify import UNDEALT, class_counts, cover, deal_mixed, settle, still_wanted
from engine.types import SPLITS, UNLABELLED, BoolArray, IntArray, LesionTable, StrArray, strings

GUARDED = ("test", "val", "mine", "train")
"""Where a group carries several official parts it goes to the first of these."""
HELD_OUT = ("mine", "val", "test")
"""Parts that nothing learns from."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The part of each row ("" where unused).

    ``group_N`` names each row's group; ``merged_groups`` counts groups that near-duplicates joined to others;
    ``left_out`` rows that could not stay: a group's rows of another official part, synthetic rows outside train, and rows
    without a diagnosis whose group is held out.
    """

    part_N: StrArray
    group_N: StrArray
    merged_groups: int
    left_out: int


def split_table(
    table: LesionTable, config: SplitConfig, seed: int, duplicates: Iterable[tuple[str, str]] = ()
) -> Split:
    """Assign every image a part.

    ``duplicates`` are pairs of image ids to keep together. With ``config.official`` and official parts in
    ``table.split`` these are kept, and only parts they lack are carved out of train. Synthetic rows follow their
    group into train and are left out elsewhere. Rows without a diagnosis are UNLABELLED, unless their group is in mine, val
    or test, or they are in val or test officially: these are left out.

    Raises:
        TooFewGroupsError: classes have fewer groups than there are parts to fill, or no assignment gives every part
            every class; names the classes and the counts.
    """
    joined = list(duplicates) if config.merge_duplicates else []
    group_N = group_rows(table, joined)
    before = len(set(group_rows(table).tolist()))
    groups = members_of(strings(np.where(table.labelled_N, group_N, "").tolist()))
    official = config.official and bool(np.any(table.split != ""))
    shows_N = shown_rows(table, group_N)
    names_G, classes_C, count_GC = class_counts(group_N[shows_N], table.dx[shows_N], table.classes)
    if config.folds is not None:
        fixed = _test_fold(table.dx[shows_N], group_N[shows_N], config.folds, seed)
    else:
        fixed = _official_parts(table, groups) if official else {}
    free_G = np.array([fixed.get(str(name), "train") == "train" for name in names_G], dtype=np.bool_)
    shares = _shares(config, fixed)
    parts = fixed | _carve(names_G[free_G], classes_C, count_GC[free_G] > 0, shares, seed)
    part_N = strings([parts.get(str(name), UNLABELLED) for name in group_N])
    held_N = np.array([official and fixed.get(str(name), "") in ("val", "test") for name in group_N])
    stray_N = held_N & (table.split != "") & (table.split != part_N)
    out_N = stray_N | ((table.origin == "synthetic") & (part_N != "train"))
    out_N |= ~table.labelled_N & (
        np.isin(part_N, HELD_OUT) | (official & np.isin(table.split, ("val", "test")))
    )
    part_N = strings(np.where(out_N, "", np.where(table.labelled_N, part_N, UNLABELLED)).tolist())
    return Split(
        part_N=part_N,
        group_N=group_N,
        merged_groups=before - len(set(group_N.tolist())),
        left_out=int(out_N.sum()),
    )


def group_rows(table: LesionTable, duplicates: Iterable[tuple[str, str]] = ()) -> StrArray:
    """Return each row's group: the smallest image_id reachable through a shared patient, lesion or duplicate pair."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for image, lesion, patient in zip(table.image_id, table.lesion_id, table.patient_id, strict=True):
        for kind, value in (("lesion", str(lesion)), ("patient", str(patient))):
            if value:
                parent[root(f"{kind}/{value}")] = root(f"image/{image}")
    for first, second in duplicates:
        parent[root(f"image/{first}")] = root(f"image/{second}")
    roots = [root(f"image/{image}") for image in table.image_id]
    smallest: dict[str, str] = {}
    for image, top in zip(table.image_id, roots, strict=True):
        smallest[top] = min(smallest.get(top, str(image)), str(image))
    return strings([smallest[top] for top in roots])


def group_names(lesion_id: StrArray, group_N: StrArray) -> StrArray:
    """Return each row's group by its smallest lesion id: a lesion that nothing joins to others is its own group."""
    smallest: dict[str, str] = {}
    for lesion, group in zip(lesion_id.tolist(), group_N.tolist(), strict=True):
        smallest[group] = min(smallest.get(group, lesion), lesion)
    return strings([smallest[group] for group in group_N.tolist()])


def portion_counts(count: int, shares: Sequence[float]) -> list[int]:
    """Divide ``count`` groups by ``shares`` (sum at most 1): largest remainders, each share above 0 gets at least 1.

    What 1 - sum(shares) leaves is not handed out. ``count`` must be at least the number of shares above 0.
    """
    spare = 1.0 - sum(shares) if sum(shares) < 1.0 - 1e-9 else 0.0
    quotas = [share * count for share in (*shares, spare)]
    least = [1 if share > 0 else 0 for share in shares] + [0]
    given = [max(int(quota + 1e-9), floor) for quota, floor in zip(quotas, least, strict=True)]
    while sum(given) != count:
        step = 1 if sum(given) < count else -1
        open_to = [k for k in range(len(given)) if (step > 0 and quotas[k] > 0) or given[k] > least[k]]
        best = max(open_to, key=lambda k: (step * (quotas[k] - given[k]), -k))
        given[best] += step
    return given[:-1]


def members_of(group_N: StrArray) -> dict[str, list[int]]:
    """Return the rows of each group, by rising name; a row whose group is "" belongs to none."""
    members: dict[str, list[int]] = {}
    for row, name in enumerate(group_N):
        if name != "":
            members.setdefault(str(name), []).append(row)
    return {name: members[name] for name in sorted(members)}


def shown_rows(table: LesionTable, group_N: StrArray) -> BoolArray:
    """Mark the images that say which classes a group shows: its real ones with a diagnosis, or all where it has no real one.

    Synthetic images reach train alone, so no other part can count on them.
    """
    real_N = (table.origin != "synthetic") & table.labelled_N
    return np.asarray(table.labelled_N & (real_N | ~np.isin(group_N, group_N[real_N])), dtype=np.bool_)


def _official_parts(table: LesionTable, groups: Mapping[str, list[int]]) -> dict[str, str]:
    """Return the official part of each group that has one: the most guarded where it has several."""
    parts = {}
    for name, rows in groups.items():
        found = {str(table.split[row]) for row in rows}
        parts[name] = next((part for part in GUARDED if part in found), "train")
    return parts


def _test_fold(dx_N: StrArray, group_N: StrArray, folds: FoldsConfig, seed: int) -> dict[str, str]:
    """Return "test" for the groups of the chosen fold; the folds are the same whichever is chosen."""
    _, classes_C, count_GC = class_counts(group_N, dx_N)
    _refuse_too_few(
        classes_C, count_GC > 0, folds.count, f"{folds.count} folds need one each", "data.split.folds"
    )
    fold_N = lesion_folds(group_N, dx_N, folds.count, seed)
    return {str(name): "test" for name in group_N[fold_N == folds.use]}


def _shares(config: SplitConfig, fixed: Mapping[str, str]) -> dict[str, float]:
    """Return the share of each part that is to be dealt out: train, and those that no ``fixed`` group fills."""
    present = set(fixed.values())
    shares = {p: float(getattr(config, p)) for p in SPLITS if p == "train" or p not in present}
    if config.folds is not None:
        return shares | {"train": 1.0 - config.mine - config.val}
    total = sum(shares.values()) if fixed else 1.0
    return {part: share / total for part, share in shares.items()}


def _carve(
    names_G: StrArray, classes_C: StrArray, holds_GC: BoolArray, shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Deal groups out to the parts, class by class; "" is the part of those that no share takes."""
    parts = [*shares, ""]
    must_B = np.array([share > 0 for share in shares.values()] + [False])
    filled = [part for part, must in zip(parts, must_B, strict=True) if must]
    each = f"{len(filled)} parts need one each ({', '.join(filled)})"
    _refuse_too_few(classes_C, holds_GC, len(filled), each, "data.split")
    target_BC = np.zeros((len(parts), len(classes_C)), dtype=np.int64)
    for column, count in enumerate(holds_GC.sum(axis=0)):
        given = portion_counts(int(count), list(shares.values()))
        target_BC[:, column] = [*given, int(count) - sum(given)]
    rng = np.random.default_rng(derive_seed(seed, "mixed", "split"))
    bin_G = deal_mixed(holds_GC, target_BC.astype(np.float64), must_B, rng)
    mixed = np.flatnonzero(bin_G != UNDEALT)
    given_BC = np.zeros(target_BC.shape, dtype=np.int64)
    np.add.at(given_BC, bin_G[mixed], holds_GC[mixed].astype(np.int64))
    for column, dx in enumerate(classes_C):
        members = np.flatnonzero((bin_G == UNDEALT) & holds_GC[:, column])
        order = np.random.default_rng(derive_seed(seed, "split", str(dx))).permutation(len(members))
        counts_B = still_wanted(target_BC[:, column], given_BC[:, column], must_B, len(members))
        bin_G[members[order]] = np.repeat(np.arange(len(parts)), counts_B)
    covered_G = cover(bin_G, holds_GC, must_B)
    if covered_G is None:
        _refuse_shared(classes_C, holds_GC, bin_G, must_B, each)
    part_G = settle(covered_G, holds_GC, target_BC, must_B)
    return {str(name): parts[number] for name, number in zip(names_G, part_G, strict=True)}


def _refuse_too_few(classes_C: StrArray, holds_GC: BoolArray, needed: int, each: str, where: str) -> None:
    """Raise TooFewGroupsError that names every class with fewer groups than ``needed``."""
    too_few = {str(dx): int(n) for dx, n in zip(classes_C, holds_GC.sum(axis=0), strict=True) if n < needed}
    if too_few:
        raise TooFewGroupsError(
            f"{where}: {_counted(too_few)} of images (patients, lesions) but {each}", too_few
        )


def _refuse_shared(
    classes_C: StrArray, holds_GC: BoolArray, bin_G: IntArray, must_B: BoolArray, each: str
) -> NoReturn:
    """Raise TooFewGroupsError that names the classes which the nearest assignment leaves out of some part."""
    held_BC = np.array([holds_GC[bin_G == number].any(axis=0) for number in np.flatnonzero(must_B)])
    found = {str(classes_C[k]): int(holds_GC[:, k].sum()) for k in np.flatnonzero(~held_BC.all(axis=0))}
    raise TooFewGroupsError(
        f"data.split: {_counted(found)} of images (patients, lesions), which show other rare classes too, so that no "
        f"assignment gives every part every class ({each})",
        found,
    )


def _counted(groups: Mapping[str, int]) -> str:
    return " and ".join(f"class {dx} has {n} group(s)" for dx, n in groups.items())
