"""Splits groups of images into train, mine, val and test: stratified by class, no group in two parts.

A group is everything that must stay together: the images of one patient, of one lesion, and near-duplicates.
Nothing here depends on the order of rows: groups are named by their smallest image_id and sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.config import FoldsConfig, SplitConfig, as_argument
from engine.errors import DataError
from engine.training.folds import lesion_folds
from engine.training.plan import derive_seed
from engine.types import SPLITS, LesionTable, StrArray, strings

GUARDED = ("test", "val", "mine", "train")
"""Where a group carries several official parts it goes to the first of these."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The part of each row ("" where unused).

    ``group_N`` names each row's group; ``merged_groups`` counts groups that near-duplicates joined to others;
    ``left_out`` rows that could not stay: a group's rows of another official part, and synthetic rows outside train.
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
    group into train and are left out elsewhere.

    Raises:
        DataError: a class has fewer groups than there are parts to fill; names the class and the counts.
    """
    joined = list(duplicates) if config.merge_duplicates else []
    group_N = group_rows(table, joined)
    before = len(set(group_rows(table).tolist()))
    groups = members_of(group_N)
    official = config.official and bool(np.any(table.split != ""))
    if config.folds is not None:
        fixed = _test_fold(table, groups, config.folds, seed)
    else:
        fixed = _official_parts(table, groups) if official else {}
    parts = fixed | _carve(table, groups, config, seed, fixed)
    part_N = strings([parts[str(name)] for name in group_N])
    held_N = np.array([official and fixed.get(str(name), "") in ("val", "test") for name in group_N])
    stray_N = held_N & (table.split != "") & (table.split != part_N)
    out_N = stray_N | ((table.origin == "synthetic") & (part_N != "train"))
    part_N = strings(np.where(out_N, "", part_N).tolist())
    return Split(
        part_N=part_N, group_N=group_N, merged_groups=before - len(groups), left_out=int(out_N.sum())
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


def group_class(table: LesionTable, rows: Sequence[int]) -> str:
    """Return the most frequent class of a group, the alphabetically first of equals."""
    counts = Counter(str(table.dx[row]) for row in rows)
    return min(counts, key=lambda dx: (-counts[dx], dx))


def _official_parts(table: LesionTable, groups: Mapping[str, list[int]]) -> dict[str, str]:
    """Return the official part of each group that has one: the most guarded where it has several."""
    parts = {}
    for name, rows in groups.items():
        found = {str(table.split[row]) for row in rows}
        parts[name] = next((part for part in GUARDED if part in found), "train")
    return parts


def _test_fold(
    table: LesionTable, groups: Mapping[str, list[int]], folds: FoldsConfig, seed: int
) -> dict[str, str]:
    """Return "test" for the groups of the chosen fold; the folds are the same whichever is chosen."""
    names = list(groups)
    dx = [group_class(table, groups[name]) for name in names]
    for name, count in sorted(Counter(dx).items()):
        if count < folds.count:
            raise DataError(
                f"data.split.folds: class {name} has {count} group(s) of images (patients, lesions), too few for "
                f"{folds.count} folds; lower folds.count, or drop the class with "
                f"{as_argument('data.map_labels', {name: 'null'})}"
            )
    fold = lesion_folds(strings(names), strings(dx), folds.count, seed)
    return {name: "test" for name, number in zip(names, fold, strict=True) if number == folds.use}


def _carve(
    table: LesionTable,
    groups: Mapping[str, list[int]],
    config: SplitConfig,
    seed: int,
    fixed: Mapping[str, str],
) -> dict[str, str]:
    """Deal the groups of each class out to the parts; with ``fixed`` parts, only train's groups to missing parts."""
    present = set(fixed.values())
    shares = {p: float(getattr(config, p)) for p in SPLITS if p == "train" or p not in present}
    if config.folds is not None:
        shares["train"] = 1.0 - config.mine - config.val
    elif fixed:
        total = sum(shares.values())
        shares = {part: share / total for part, share in shares.items()}
    free = [name for name in groups if fixed.get(name, "train") == "train"]
    by_class: dict[str, list[str]] = {dx: [] for dx in table.classes}
    for name in free:
        by_class[group_class(table, groups[name])].append(name)
    filled = [part for part, share in shares.items() if share > 0]
    parts: dict[str, str] = {}
    for dx, names in by_class.items():
        if len(names) < len(filled):
            raise DataError(
                f"data.split: class {dx} has {len(names)} group(s) of images (patients, lesions) but {len(filled)} "
                f"parts need one each ({', '.join(filled)}); add lesions, drop the class with "
                f"{as_argument('data.map_labels', {dx: 'null'})}, or raise data.limit"
            )
        order = np.random.default_rng(derive_seed(seed, "split", dx)).permutation(len(names))
        counts = portion_counts(len(names), list(shares.values()))
        dealt = [part for part, count in zip(shares, counts, strict=True) for _ in range(count)]
        dealt += [""] * (len(names) - len(dealt))
        parts |= {names[position]: part for position, part in zip(order, dealt, strict=True)}
    return parts
