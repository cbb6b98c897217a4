"""What each arm of a round trained on, so that arms with equal pools are not compared: nothing was tested there.

A run folder keeps no pool itself. Its report says how many images each pool adds to the classifier's own, and the key of
the stage that laid the pool out. Arms that add nothing, or not a single image, have the same pool unless they bought labels;
so have those of one key.
"""

from __future__ import annotations

from typing import Final

from engine.arms import ARMS
from engine.artifacts.report_json import RoundEntry, RunReport

OWN: Final = "the classifier's own images alone"
"""What an arm trained on that adds no image."""


def pools_of(report: RunReport, number: int) -> dict[str, str]:
    """Return what each arm of a round trained on, in words or as a key; arms of which it is not known are left out."""
    found = {entry.arm: pool_text(entry, report) for entry in report.of_round(number)}
    return {arm: text for arm, text in found.items() if text}


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
