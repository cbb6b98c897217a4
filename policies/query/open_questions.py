"""Which candidates can still be asked about: a group closes with its first question, and classes may take turns.

Legend: N unlabelled candidates.
"""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np

from engine.types import BoolArray, IntArray, Query, QueryState


class OpenQuestions:
    """The candidates of a state, sorted by image_id, that can still be asked about.

    Attributes:
        group_N: the group of each candidate, numbered from 0 in the order of their names.
        class_N: the candidates that compete: by predicted class where ``balanced``, else all in class 0.
        places: how many questions will be asked: min(total, groups).
        chosen: those asked so far, in their order.
    """

    def __init__(self, state: QueryState, balanced: bool, open_N: BoolArray | None = None) -> None:
        self.group_N = groups_of(state)
        predicted_N = state.prob_NC.argmax(axis=1) if len(state) else np.zeros(0)
        self.class_N = (predicted_N if balanced else np.zeros(len(state))).astype(np.int64)
        self.places = min(state.total, self.groups)
        self.chosen: list[int] = []
        self._open_N = np.ones(len(state), dtype=np.bool_) if open_N is None else open_N.copy()
        labelled_C = np.bincount(state.labelled_label_M, minlength=len(state.classes))
        present = np.unique(self.class_N).tolist()
        self._turns = deque(sorted(present, key=lambda c: (int(labelled_C[c]), state.classes[c])))

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.group_N.max()) + 1 if len(self.group_N) else 0

    @property
    def left(self) -> int:
        """How many questions are still to be asked."""
        return self.places - len(self.chosen)

    def rows(self) -> IntArray:
        """Return the candidates that compete for the next question, at least one while any is ``left``."""
        while True:
            rows = np.flatnonzero(self._open_N & (self.class_N == self._turns[0]))
            if len(rows):
                return rows.astype(np.int64)
            self._turns.popleft()

    def take(self, row: int) -> None:
        """Ask about a candidate: its group closes, and the next class has its turn."""
        self.chosen.append(row)
        self._open_N[self.group_N == self.group_N[row]] = False
        self._turns.rotate(-1)


def groups_of(state: QueryState) -> IntArray:
    """Return the group of each candidate as a number; a candidate of group "" is a group of its own."""
    alone_N = np.char.add("image:", state.image_id)
    names = np.where(state.group == "", alone_N, np.char.add("group:", state.group))
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def by_image_id(state: QueryState) -> tuple[QueryState, IntArray]:
    """Return the state with its candidates sorted by image_id, and where each of them stood.

    A state in this order already is returned as it is: its features may be large.
    """
    order = np.argsort(state.image_id, kind="stable").astype(np.int64)
    if (order == np.arange(len(order))).all():
        return state, order
    ordered = dataclasses.replace(
        state,
        image_id=state.image_id[order],
        group=state.group[order],
        prob_NC=state.prob_NC[order],
        feature_NF=state.feature_NF[order],
        draws_TNC=None if state.draws_TNC is None else state.draws_TNC[:, order],
    )
    return ordered, order


def as_given(query: Query, order: IntArray) -> Query:
    """Return a decision on the sorted candidates in the order that they were given in."""
    value_N = np.empty_like(query.value_N)
    value_N[order] = query.value_N
    return Query(chosen=order[query.chosen], value_N=value_N)
