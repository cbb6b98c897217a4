"""What a run says of itself: report.json's object, its protocol, and the champion that val picks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.arms import ARMS
from engine.artifacts import decoded_images, duplicates, generator_parts, lesions, split
from engine.artifacts.champion import Champion
from engine.artifacts.report_json import (
    DUPLICATES,
    SCHEMA_VERSION,
    UNKNOWN,
    FailedAttempt,
    RoundEntry,
    RunReport,
    Stopping,
)
from engine.artifacts.run_layout import main_arm
from engine.config import Config, LoopConfig
from engine.data.table import groups_of_some, n_grouped
from engine.errors import StageError
from engine.store import StageFolder
from engine.types import UNLABELLED, Action, Failure, StopDecision


def run_report(
    config: Config,
    *,
    config_digest: str,
    foundation: Mapping[str, StageFolder],
    rounds: Sequence[RoundEntry],
    champion: Champion | None,
    decision: StopDecision,
    device: str,
    failed: Mapping[str, Sequence[Failure]] | None = None,
) -> RunReport:
    """Return report.json's object.

    Args:
        config: the run's.
        config_digest: hash of every key that decides what is computed.
        foundation: the foundation stages so far, ``images`` and ``split`` among them.
        rounds: one object per (round, arm), in any order.
        champion: None where nobody was crowned.
        decision: how the run ended, or stands.
        device: the torch device that stages run on.
        failed: the failed attempts of stages that took more than one, by role.
    """
    likelihood: dict[str, Any] = {
        name: generator_parts.read_likelihood(stage.path).content()
        for name, stage in foundation.items()
        if name == "likelihood"
    }
    return RunReport(
        schema_version=SCHEMA_VERSION,
        name=config.name,
        protocol=protocol(config.loop, foundation["images"], foundation["split"]),
        config_digest=config_digest,
        **_data_report(config, foundation["images"], foundation["split"]),
        stopping=_stopping(decision),
        champion=None if champion is None else champion.to_json(),
        foundation_seconds={name: round(stage.seconds, 3) for name, stage in foundation.items()},
        device=device,
        **likelihood,
        **_failed_attempts(failed or {}),
        rounds=tuple(sorted(rounds, key=lambda entry: (entry.round, entry.arm != main_arm(entry.round)))),
    )


def protocol(loop: LoopConfig, images: StageFolder, parts: StageFolder) -> str:
    """Return the protocol; ``parts`` is the split's stage.

    Leaky where hard cases come from test, or by near-duplicates in two parts; groups_unknown where images in use could not
    be grouped, else safe.
    """
    if loop.mine_from == "test":
        return "leaky"
    if duplicates_apart(images, parts):
        return DUPLICATES
    return UNKNOWN if _grouped_by(loop, images, parts)[0] == "image" else "safe"


def _grouped_by(loop: LoopConfig, images: StageFolder, parts: StageFolder) -> tuple[str, str]:
    """Return what groups the images in use, and "20 of 320" where some of these, not all, have no lesion or patient id.

    Unlabelled images are in use where an arm asks for labels or the generator learns from them. Others may stand apart
    without a group: nothing trains on them until readers' answers make them train images.
    """
    asked = loop.generator_saw == UNLABELLED or any(ARMS[arm].labels for arm in loop.arms)
    return _groups_of(images.path, parts.path, asked)


@functools.cache
def _groups_of(images: Path, parts: Path, asked: bool) -> tuple[str, str]:
    """The same of two finished folders, whose files do not change: every round's report asks."""
    known = decoded_images.read(images).grouped_by
    if known != "image":
        return known, ""
    used = split.read(parts)
    names = used.image_id if asked else used.image_id[used.split != UNLABELLED]
    table = lesions.read(images)
    table = table.take(np.isin(table.image_id, names))
    apart = len(table) - n_grouped(table)
    return groups_of_some(table, known), f"{apart} of {len(table)}" if 0 < apart < len(table) else ""


def duplicates_apart(images: StageFolder, parts: StageFolder) -> int:
    """Return how many pairs of near-duplicates, of those that are sure, lie in two parts (``data.split.merge_duplicates``).

    Unlabelled images count as train: the generator may learn from them, and answers make them train images.
    """
    return _pairs_apart(images.path, parts.path)


@functools.cache
def _pairs_apart(images: Path, parts: Path) -> int:
    """The same of two finished folders, whose files do not change: every round's report asks."""
    if not duplicates.SCHEMA.present(images):
        return 0
    table = split.read(parts)
    part_of = dict(zip(table.image_id.tolist(), table.split.tolist(), strict=True))
    part_of = {name: "train" if part == UNLABELLED else part for name, part in part_of.items()}
    pairs = duplicates.read(images).ids
    return sum(part_of[a] != part_of[b] for a, b in pairs if a in part_of and b in part_of)


def tracked_dataset(config: Config, images: StageFolder, parts: StageFolder) -> dict[str, Any]:
    """Return what a tracker is told of the data: name, digest, counts, protocol; ``parts`` is the split's stage."""
    facts = split.read_facts(parts.path)
    return {
        "name": config.data.format,
        "digest": facts.digest,
        "counts": facts.counts,
        "n_images": decoded_images.read(images.path).n_images,
        "protocol": protocol(config.loop, images, parts),
    }


def settled(decision: StopDecision, number: int) -> StopDecision:
    """Return what a policy decided on round ``number``; a roll-back always names the round it keeps.

    Where the policy names none, that is the round before: the one just finished is what it turned down.

    Raises:
        StageError: it goes back to a round that is no earlier one.
    """
    if decision.action is not Action.ROLL_BACK:
        return replace(decision, keep_round=None)
    kept = number - 1 if decision.keep_round is None else decision.keep_round
    if not 0 <= kept < number:
        raise StageError(
            f"policy.stopping: rolls back from round {number} to round {kept}; keep_round must be an earlier round, "
            f"0 to {number - 1}"
        )
    return replace(decision, keep_round=kept)


def champion_of(rounds: Sequence[RoundEntry], metric: str, keep_round: int | None = None) -> Champion:
    """Return the best (round, arm) by a val figure; ties go to the earlier round.

    Args:
        rounds: one object per (round, arm).
        metric: the figure of ``val``.
        keep_round: no later round may be champion, however well it scored (a roll-back); None: any may.

    Raises:
        StageError: the figure is undefined in every round.
    """
    scored = [
        (figure.value, -entry.round, entry)
        for entry in rounds
        if (keep_round is None or entry.round <= keep_round)
        and (figure := entry.figure("val", metric)).value is not None
    ]
    if not scored:
        raise StageError(
            f"evaluation.champion: {metric} is undefined on val in every round; enlarge data.split.val"
        )
    best = max(scored, key=lambda found: found[:2])[2]
    figure = best.figure("val", metric)
    return Champion(round=best.round, arm=best.arm, metric=f"val/{metric}", **vars(figure))


def _stopping(decision: StopDecision) -> Stopping:
    """Return how the run stands; a roll-back names ``keep_round``, the last round that may be champion."""
    kept = {} if decision.keep_round is None else {"keep_round": decision.keep_round}
    return Stopping(action=decision.action.value, reason=decision.reason, **kept)


def _failed_attempts(failed: Mapping[str, Sequence[Failure]]) -> dict[str, Any]:
    """Return ``failed_attempts``, nothing where every stage took one attempt."""
    found = {
        role: tuple(FailedAttempt(cause=str(f.cause), said=f.said, seconds=f.seconds) for f in failures)
        for role, failures in failed.items()
    }
    return {"failed_attempts": found} if found else {}


def _data_report(config: Config, images: StageFolder, parts: StageFolder) -> dict[str, Any]:
    """Return ``split_digest`` and ``data``: counts, grouping, masks, what was skipped."""
    info, facts = decoded_images.read(images.path), split.read_facts(parts.path)
    grouped_by, without_group = _grouped_by(config.loop, images, parts)
    data: dict[str, Any] = {
        "format": config.data.format,
        "n_images": info.n_images,
        "n_lesions": info.n_lesions,
        "grouped_by": grouped_by,
        "masks": info.masks,
        "n_skipped": len(info.skipped),
        "counts": facts.counts,
    }
    if apart := duplicates_apart(images, parts):
        data["duplicates_apart"] = apart
    if without_group:
        data["without_group"] = without_group
    counts = {"unlabelled": facts.unlabelled, "answered": facts.answered}
    data |= {name: count for name, count in counts.items() if count}
    return {"split_digest": facts.digest, "data": data}
