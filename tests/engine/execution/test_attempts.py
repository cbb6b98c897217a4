"""The failure policy: causes in, decision out."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError, FullDiskError, MachineError, NoMemoryError, StageError
from engine.execution.attempts import MOST, AttemptError, cause_of, decide
from engine.types import Cause, Failure, causes_text

WORKER, NODE, PREEMPTED, MEMORY, DISK, EXCEPTION = (
    Cause.WORKER_LOST, Cause.NODE_LOST, Cause.PREEMPTED, Cause.OUT_OF_MEMORY, Cause.DISK_FULL, Cause.EXCEPTION,
)  # fmt: skip


@pytest.mark.parametrize(
    ("causes", "maps", "again", "halvings"),
    [
        ([WORKER], False, True, 0),
        ([WORKER] * 2, False, True, 0),
        ([WORKER] * 3, False, False, 0),
        ([NODE] * 8, False, True, 0),
        ([NODE] * 9, False, False, 0),
        ([PREEMPTED] * 100, False, True, 0),
        ([PREEMPTED] * 101, False, False, 0),
        ([WORKER, WORKER, PREEMPTED, NODE], False, True, 0),
        ([WORKER, WORKER, PREEMPTED, WORKER], False, False, 0),
        ([MEMORY], False, False, 1),
        ([MEMORY], True, True, 1),
        ([MEMORY, WORKER], True, True, 1),
        ([MEMORY, MEMORY], True, False, 2),
        ([DISK], True, False, 0),
        ([EXCEPTION], True, False, 0),
        ([PREEMPTED, EXCEPTION], True, False, 0),
    ],
)
def test_what_follows(causes: list[Cause], maps: bool, again: bool, halvings: int) -> None:
    decision = decide(causes, maps=maps)
    assert (decision.again, decision.halvings) == (again, halvings)
    assert bool(decision.advice) == (not again and causes[-1] in MOST)


@given(st.lists(st.sampled_from(list(Cause)), min_size=1, max_size=300), st.booleans())
def test_a_stage_ends_and_each_cause_has_a_budget_of_its_own(causes: list[Cause], maps: bool) -> None:
    made = list(_played(causes, maps))
    limits = {cause: MOST.get(cause, 0) for cause in Cause} | {MEMORY: int(maps)}
    *before, last = made
    assert all(before.count(cause) <= limits[cause] for cause in Cause)
    assert len(made) == len(causes) or made.count(last) == limits[last] + 1
    assert len(made) <= sum(limits.values()) + 1
    assert decide([c for c in made if c is last], maps=maps).again == decide(made, maps=maps).again


def _played(causes: list[Cause], maps: bool) -> Iterator[Cause]:
    """Yield the causes up to the one that ends the stage."""
    for number, cause in enumerate(causes, start=1):
        yield cause
        if not decide(causes[:number], maps=maps).again:
            return


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (AttemptError(NODE, "gone"), NODE),
        (FullDiskError("full"), DISK),
        (NoMemoryError("none"), MEMORY),
        (MachineError("a driver"), EXCEPTION),
        (StageError("diverged"), EXCEPTION),
        (DataError("no file"), EXCEPTION),
        (KeyError("a bug"), EXCEPTION),
    ],
)
def test_what_an_error_is(error: Exception, cause: Cause) -> None:
    assert cause_of(error) is cause


def test_a_lost_attempt_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(AttemptError(PREEMPTED, "node 3 goes")))
    assert (error.cause, str(error)) == (PREEMPTED, "node 3 goes")


def test_causes_are_counted_in_words() -> None:
    failures = [Failure(cause=c, said="") for c in (PREEMPTED, WORKER, PREEMPTED)]
    assert causes_text(failures) == "worker lost 1, preempted 2"
    assert causes_text([]) == ""
