"""Runs attempts at a stage until one succeeds or the failure policy gives up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from engine.artifacts.machine_faults import mendable, no_memory, one_line
from engine.artifacts.secrets import masked, masking_logger
from engine.errors import FullDiskError, StageError
from engine.execution.attempts import AttemptError, Decision, cause_of, decide
from engine.stages import find
from engine.store.attempt_folders import AttemptFolder, StagePlace
from engine.types import Cause, Failure, causes_text

LOG = masking_logger("hardcase.attempts")


def attempted(
    place: StagePlace, stage: str, work: Callable[[AttemptFolder, int], None]
) -> tuple[AttemptFolder, tuple[Failure, ...]]:
    """Call ``work(attempt, halvings)`` with a new folder each time; return the one it filled, and what failed before.

    The folder of a failed attempt is removed, its checkpoints go to the next one, or stay for a rerun.

    Raises:
        HardcaseError: what the stage raised, or why it was given up.
    """
    failures: list[Failure] = []
    halvings = 0
    while True:
        attempt, start = place.begin(len(failures) + 1), time.perf_counter()
        try:
            work(attempt, halvings)
        except Exception as error:
            place.clear()
            found = error if isinstance(error, AttemptError) else _mendable(error, stage, place)
            failures.append(_failure(found, time.perf_counter() - start))
            decision = decide([failure.cause for failure in failures], maps=find(stage).maps)
            if not decision.again:
                raise _given_up(found, stage, failures, decision) from error
            halvings = decision.halvings
            LOG.warning("stage %s: attempt %d failed and is made again: %s (%s)",
                        stage, len(failures), failures[-1].cause, failures[-1].said)  # fmt: skip
        except BaseException:
            place.clear()
            raise
        else:
            return attempt, tuple(failures)


def _mendable(error: Exception, stage: str, place: StagePlace) -> Exception:
    """Return the error with what a person can do about it, as it is where that is nothing."""
    return mendable(error, f"stage {stage}", find(stage).saving, place.final) or error


def _failure(error: Exception, seconds: float) -> Failure:
    return Failure(cause=cause_of(error), said=masked(one_line(error)), seconds=round(seconds, 3))


def _given_up(error: Exception, stage: str, failures: Sequence[Failure], decision: Decision) -> Exception:
    """Return the error that ends the stage."""
    if not isinstance(error, AttemptError):
        return error
    doing, said = f"stage {stage}", failures[-1].said
    if error.cause is Cause.OUT_OF_MEMORY:
        return no_memory(said, doing, find(stage).saving)
    if error.cause is Cause.DISK_FULL:
        return FullDiskError(f"{doing}: {said}; free some of that node's disk, then rerun to resume")
    return StageError(
        f"{doing}: given up after {causes_text(failures)}; last: {said}; {decision.advice}; rerun to resume"
    )
