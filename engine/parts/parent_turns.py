"""In which order accepted images are taken where there are more than may train: every parent's first before any's second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.types import StrArray


def by_turns(rows: Iterable[int], parent_S: StrArray, before: Mapping[str, int] | None = None) -> list[int]:
    """Return ``rows`` (positions in ``parent_S``) so that parents take turns; within a turn the order stays as it was.

    Cutting what comes last then costs every parent a little instead of some parents everything. ``before``: images that
    parents have already; their turns begin after those.
    """
    taken = dict(before or {})
    turns = []
    for place, row in enumerate(rows):
        parent = str(parent_S[row])
        turns.append((taken.get(parent, 0), place, row))
        taken[parent] = taken.get(parent, 0) + 1
    return [row for _, _, row in sorted(turns)]
