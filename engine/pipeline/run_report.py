"""What a run says of itself: report.json's object, its protocol, and the champion that val picks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.config import Config
from engine.errors import StageError
from engine.store import StageFolder
from engine.store.files import read_json
from engine.store.run_folder import main_arm
from engine.types import Action, StopDecision

SCHEMA_VERSION = 1


def run_report(
    config: Config,
    *,
    config_digest: str,
    foundation: Mapping[str, StageFolder],
    rounds: Sequence[Mapping[str, Any]],
    champion: Mapping[str, Any] | None,
    decision: StopDecision,
    device: str,
) -> dict[str, Any]:
    """Return report.json's object.

    Args:
        config: the run's.
        config_digest: hash of every key that decides what is computed.
        foundation: the foundation stages so far, ``images`` and ``split`` among them.
        rounds: one object a (round, arm), in any order.
        champion: champion.json's object, None where nobody was crowned.
        decision: how the run ended, or stands.
        device: the torch device that stages run on.
    """
    likelihood = {
        k: read_json(v.path / "likelihood.json") for k, v in foundation.items() if k == "likelihood"
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "name": config.name,
        "protocol": protocol(config.loop.mine_from, foundation["images"]),
        "config_digest": config_digest,
        **_data_report(config.data.format, foundation["images"], foundation["split"]),
        "stopping": _stopping(decision),
        "champion": champion,
        "foundation_seconds": {n: round(s.seconds, 3) for n, s in foundation.items()},
        "device": device,
        **likelihood,
        "rounds": sorted(rounds, key=lambda r: (r["round"], r["arm"] != main_arm(r["round"]))),
    }


def protocol(mine_from: str, images: StageFolder) -> str:
    """Leaky where hard cases come from test, groups_unknown where images could not be grouped, else safe."""
    if mine_from == "test":
        return "leaky"
    return "groups_unknown" if read_json(images.path / "data.json")["grouped_by"] == "image" else "safe"


def tracked_dataset(config: Config, images: StageFolder, split: StageFolder) -> dict[str, Any]:
    """Return what a tracker is told of the data: name, digest, counts, protocol."""
    parts = read_json(split.path / "split.json")
    return {
        "name": config.data.format,
        "digest": parts["digest"],
        "counts": parts["counts"],
        "n_images": read_json(images.path / "data.json")["n_images"],
        "protocol": protocol(config.loop.mine_from, images),
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


def champion_of(
    rounds: Sequence[Mapping[str, Any]], metric: str, keep_round: int | None = None
) -> dict[str, Any]:
    """Return the best (round, arm) by a val figure; ties go to the earlier round.

    Args:
        rounds: one object a (round, arm).
        metric: the figure of ``val``.
        keep_round: no later round may be champion, however well it scored (a roll-back); None: any may.

    Raises:
        StageError: the figure is undefined in every round.
    """
    allowed = [r for r in rounds if keep_round is None or r["round"] <= keep_round]
    scored = [r for r in allowed if r["val"][metric]["value"] is not None]
    if not scored:
        raise StageError(
            f"evaluation.champion: {metric} is undefined on val in every round; enlarge data.split.val"
        )
    best = max(scored, key=lambda r: (r["val"][metric]["value"], -r["round"]))
    return {"round": best["round"], "arm": best["arm"], "metric": f"val/{metric}", **best["val"][metric]}


def _stopping(decision: StopDecision) -> dict[str, Any]:
    """Return ``stopping``: action, reason, and of a roll-back ``keep_round``, the last round that may be champion."""
    kept = {} if decision.keep_round is None else {"keep_round": decision.keep_round}
    return {"action": decision.action, "reason": decision.reason, **kept}


def _data_report(data_format: str, images: StageFolder, split: StageFolder) -> dict[str, Any]:
    """Return ``split_digest`` and ``data``: counts, grouping, masks, what was skipped."""
    info = read_json(images.path / "data.json")
    parts = read_json(split.path / "split.json")
    kept = {name: info[name] for name in ("n_images", "n_lesions", "grouped_by", "masks")}
    data = {"format": data_format, **kept, "n_skipped": len(info["skipped"]), "counts": parts["counts"]}
    return {"split_digest": parts["digest"], "data": data}
