"""Which accepted images of an arm train, so that each of its rounds has as many as the same round of ``hard``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.parts.parent_turns import by_turns
from engine.types import IntArray, StrArray, strings


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The accepted images of one round: ``rows`` of its S samples, and what is counted (a class) and the parent of each."""

    rows: IntArray
    kind_S: StrArray
    parent_S: StrArray


def matched(rounds: Sequence[Accepted], wanted: Sequence[Mapping[str, int]]) -> list[IntArray]:
    """Return per round the sorted rows that train: of each kind as many as ``wanted`` of that round, where they exist.

    What a round cannot fill, later rounds do. What is missing after the last one comes from surplus images of all rounds:
    those of parents with the fewest images so far first, then those of earlier rounds. Within a round every parent's
    first image comes before any second (``by_turns``).

    Raises:
        ValueError: ``wanted`` is for another number of rounds.
    """
    owed: Counter[str] = Counter()
    chosen: list[list[int]] = []
    surplus: list[tuple[int, int]] = []
    for number, (images, counts) in enumerate(zip(rounds, wanted, strict=True)):
        owed.update(counts)
        taken = _first(by_turns(images.rows.tolist(), images.parent_S), images.kind_S, owed)
        surplus += [(number, row) for row in np.setdiff1d(images.rows, taken).tolist()]
        chosen.append(taken)
    used = Counter(str(rounds[n].parent_S[row]) for n, rows in enumerate(chosen) for row in rows)
    parent_L = strings([str(rounds[n].parent_S[row]) for n, row in surplus])
    kind_L = strings([str(rounds[n].kind_S[row]) for n, row in surplus])
    for at in _first(by_turns(range(len(surplus)), parent_L, used), kind_L, owed):
        number, row = surplus[at]
        chosen[number].append(row)
    return [np.array(sorted(rows), dtype=np.int64) for rows in chosen]


def _first(rows: Iterable[int], kind_S: StrArray, owed: Counter[str]) -> list[int]:
    """Return the first of ``rows`` as long as images of their kind are owed; lowers ``owed``."""
    found = []
    for row in rows:
        kind = str(kind_S[row])
        if owed[kind] > 0:
            owed[kind] -= 1
            found.append(row)
    return found
