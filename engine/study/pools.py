"""What each arm of a round trained on, so that arms with equal pools are not compared: nothing was tested there.

A run folder keeps no pool itself. Its report says how many images each pool adds to the classifier's own, and the key of
the stage that laid the pool out. Arms that add nothing, or not a single image, have the same pool unless they bought labels;
so have those of one key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from engine.arms import ARMS
from engine.artifacts.report_json import RoundEntry, RunReport

UNEQUAL: Final = 0.05
"""Share of all images added by which two arms may differ, class by class, and still be compared as matches."""
OWN: Final = "the classifier's own images alone"
"""What an arm trained on that adds no image."""


def pools_of(report: RunReport, number: int) -> dict[str, str]:
    """Return what each arm of a round trained on, in words or as a key; arms of which it is not known are left out."""
    found = {entry.arm: pool_text(entry, report) for entry in report.of_round(number)}
    return {arm: text for arm, text in found.items() if text}


def added_of(report: RunReport, number: int) -> dict[str, dict[str, int]]:
    """Return how many images each arm's pool of a round adds, by class; arms whose report does not say are left out."""
    return {
        entry.arm: dict(entry.pool["added"])
        for entry in report.of_round(number)
        if entry.pool is not None and entry.pool.get("added") is not None
    }


def unmatched(added: Sequence[Mapping[str, Mapping[str, int]]], arm: str, other: str) -> str:
    """Say how many images of each class two arms had added, where they differ by more than UNEQUAL of all; else "".

    Differences of all classes and runs are added up, so that what one class lacks is not made good by another; one image too
    few of a rare class is no reason to discard a study.

    Args:
        added: of each run, images added by arm and class; runs that do not count both arms are left out.
        arm: one arm.
        other: the arm whose pool should have as many.
    """
    known = [(Counter(one[arm]), Counter(one[other])) for one in added if arm in one and other in one]
    apart = [(ours - theirs) + (theirs - ours) for ours, theirs in known]
    most = sum(max(ours.total(), theirs.total()) for ours, theirs in known)
    if sum(one.total() for one in apart) <= UNEQUAL * most:
        return ""
    classes = sorted({dx for one in apart for dx in one})
    counts = [f"{dx} {sum(t[dx] for _, t in known)} and {sum(o[dx] for o, _ in known)}" for dx in classes]
    return f"{other} and {arm} had unequal numbers of images added: {', '.join(counts)}"


def pool_text(entry: RoundEntry, report: RunReport) -> str:
    """Return a text that is the same for two pools of one split exactly where their images are; "" where unknown."""
    added = _added(entry, report)
    arm = ARMS.get(entry.arm)
    bought = entry.labels is not None and entry.labels.answered > 0
    if added == 0 and not bought and (arm is None or arm.own):
        return OWN
    return entry.digests.get("pool", "")


def _added(entry: RoundEntry, report: RunReport) -> int | None:
    """How many images an arm's pool adds to the classifier's own; None where the report does not say."""
    if entry.pool is not None:
        added: dict[str, int] = entry.pool.get("added") or {}
        return sum(added.values())
    arm = ARMS.get(entry.arm)
    if arm is not None and arm.adds == "nothing":
        return 0
    if arm is not None and arm.makes_images:
        return sum(one.n_accepted for one in report.of_arm(entry.arm) if one.round <= entry.round)
    return None
