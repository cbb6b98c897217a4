"""Assigns images to parts and training sets; where classes are too rare, finds the settings that help by trying them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from engine.config import SplitConfig, as_argument
from engine.data.splits import Split, split_table
from engine.data.train_sets import draw_train_sets
from engine.errors import DataError, TooFewGroupsError
from engine.types import IntArray, LesionTable, strings

Pairs = Sequence[tuple[str, str]]
Assigned = tuple[Split, IntArray | None]
Variant = tuple[tuple[str, ...], SplitConfig]
"""Overrides as they are typed, and the section with them."""
Works = Callable[[LesionTable, SplitConfig], bool]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Where the classes come from: ``data.map_labels``, the data's own labels, and ``data.limit``."""

    mapping: Mapping[str, str | None] = field(default_factory=dict)
    names: Sequence[str] = ()
    limit: int | None = None

    def dropping(self, classes: Iterable[str]) -> dict[str, str | None]:
        """Return the mapping that also drops ``classes``: every label that becomes one of them."""
        gone = set(classes)
        kept = {label: name for label, name in self.mapping.items() if name not in gone}
        dropped = {label for label, name in self.mapping.items() if name in gone}
        own = {dx for dx in gone - set(self.mapping) if dx in self.names or not self.names}
        return kept | dict.fromkeys(sorted(dropped | own))


def assign(
    table: LesionTable, config: SplitConfig, seed: int, duplicates: Pairs = (), labels: Labels | None = None
) -> Assigned:
    """Return the split, and each row's training set (-1: none; None where the config draws none).

    Raises:
        DataError: classes have too few groups, and which overrides help; or sets of that size cannot be made.
    """
    try:
        return _assign(table, config, seed, duplicates)
    except TooFewGroupsError as error:
        found = _remedies(table, config, seed, duplicates, error, labels or Labels())
        raise DataError(f"{error}; {found}") from None


def _assign(table: LesionTable, config: SplitConfig, seed: int, duplicates: Pairs) -> Assigned:
    split = split_table(table, config, seed, duplicates)
    if config.train_sets is None:
        return split, None
    group_N = strings(np.where(split.part_N == "train", split.group_N, "").tolist())
    return split, draw_train_sets(table, group_N, config.train_sets, seed)


def _remedies(
    table: LesionTable, config: SplitConfig, seed: int, pairs: Pairs, error: TooFewGroupsError, labels: Labels
) -> str:
    """Return the overrides that make the assignment work, each tried on this table."""

    def works(rows: LesionTable, section: SplitConfig) -> bool:
        there = set(rows.image_id.tolist())
        try:
            _assign(rows, section, seed, [pair for pair in pairs if there.issuperset(pair)])
        except DataError:
            return False
        return True

    most = min(error.too_few.values())
    helps = [" ".join(overrides) for overrides in _settings(table, config, most, works)]
    dropped = _classes_to_drop(table, config, error, seed, pairs)
    if dropped:
        mapping = {k: "null" if v is None else v for k, v in labels.dropping(dropped).items()}
        helps.append(
            f"{as_argument('data.map_labels', mapping)} (null drops a class, the name of another class merges it)"
        )
    more = f"add images of {', '.join(error.too_few)} from further patients or lesions"
    if labels.limit is not None:
        more += f", which data.limit ({labels.limit}) may have left out"
    return f"set {', or set '.join(helps)}, or {more}" if helps else more


def _settings(table: LesionTable, config: SplitConfig, most: int, works: Works) -> Iterator[tuple[str, ...]]:
    """Yield the overrides that help; several at once only where none alone does, then the first such."""
    options = (_without_mine, _fewer_folds, _fewer_sets, _unofficial)
    for size in range(1, len(options) + 1):
        found = False
        for chosen in combinations(options, size):
            variants: list[Variant] = [((), config)]
            for option in chosen:
                variants = [
                    (typed + further, section)
                    for typed, before in variants
                    for further, section in option(before, most)
                ]
            helping = next((typed for typed, section in variants if works(table, section)), None)
            if helping is not None:
                found = True
                yield helping
                if size > 1:
                    return
        if found:
            return


def _without_mine(config: SplitConfig, _most: int) -> Iterator[Variant]:
    """Leave ``mine`` out; train gets its share."""
    if config.mine <= 0:
        return
    typed, changed = ("data.split.mine=0", "loop.mine_from=crossfit"), config.model_copy(update={"mine": 0.0})
    if config.folds is not None:
        yield typed, changed
    else:
        share = f"{config.train + config.mine:.6g}"
        yield (f"data.split.train={share}", *typed), changed.model_copy(update={"train": float(share)})


def _fewer_folds(config: SplitConfig, most: int) -> Iterator[Variant]:
    """Lower ``folds.count``; the fold in use stays where it exists."""
    if config.folds is not None:
        for count in _lower(config.folds.count, most, least=2):
            use = min(config.folds.use, count - 1)
            folds: dict[str, Any] = {"count": count, "use": use}
            changed = config.folds.model_copy(update=folds)
            typed = f"'data.split.folds={{count: {count}, use: {use}}}'"
            yield (typed,), config.model_copy(update={"folds": changed})


def _fewer_sets(config: SplitConfig, most: int) -> Iterator[Variant]:
    """Lower ``train_sets.count``; sets in use stay where they exist."""
    if config.train_sets is not None:
        for count in _lower(config.train_sets.count, most, least=1):
            use = [number for number in config.train_sets.use if number < count] or [0]
            typed = [f"data.split.train_sets.count={count}"]
            if use != config.train_sets.use:
                typed.append(f"data.split.train_sets.use={use}".replace(" ", ""))
            changed = config.train_sets.model_copy(update={"count": count, "use": use})
            yield tuple(typed), config.model_copy(update={"train_sets": changed})


def _unofficial(config: SplitConfig, _most: int) -> Iterator[Variant]:
    """Draw the parts instead of keeping the data's own."""
    if config.official:
        yield ("data.split.official=false",), config.model_copy(update={"official": False})


def _lower(count: int, most: int, least: int) -> list[int]:
    """Return a few numbers below ``count`` and up to ``most``, the largest first."""
    top = min(count - 1, most)
    return sorted({n for n in (top, top - 1, top // 2, least) if least <= n < count}, reverse=True)


def _classes_to_drop(
    table: LesionTable, config: SplitConfig, error: TooFewGroupsError, seed: int, pairs: Pairs
) -> set[str]:
    """Return the classes without which the others can be assigned; none where fewer than two would be left."""
    dropped: set[str] = set()
    problem: TooFewGroupsError | None = error
    while problem is not None:
        dropped |= set(problem.too_few)
        rest = table.take(np.flatnonzero(~np.isin(table.dx, sorted(dropped))))
        if len(rest.classes) < 2:
            return set()
        there, problem = set(rest.image_id.tolist()), None
        try:
            _assign(rest, config, seed, [pair for pair in pairs if there.issuperset(pair)])
        except TooFewGroupsError as further:
            problem = further
        except DataError:
            return set()
    return dropped
