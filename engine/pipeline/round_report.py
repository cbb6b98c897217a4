"""What finished stages say of a round: its object of report.json, and what the next round goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.store import StageFolder
from engine.store.files import read_json
from engine.types import RoundReport


def round_report(
    number: int,
    arm: str,
    generator_saw: str,
    protocol: str,
    steps: int,
    made: Mapping[str, StageFolder],
    stages: Mapping[str, StageFolder],
    earlier: Sequence[StageFolder] = (),
    *,
    reference: bool = False,
) -> dict[str, Any]:
    """Return report.json's object of one (round, arm).

    Args:
        number: the round.
        arm: the arm.
        generator_saw: what the generator parts learned from.
        protocol: safe, leaky or groups_unknown; the figures stand here without the run's report.
        steps: optimizer steps the arm has had in all.
        made: the synthesis stages of the arm in this round (empty: it synthesizes nothing).
        stages: its ``pool``, ``classifier``, ``predict`` and ``evaluate``.
        earlier: fits that the classifier went on from in this same round; their seconds are the arm's too.
        reference: it trains on real images that no other arm sees itself: something to look at, not a bar to clear.
    """
    figures = read_json(stages["evaluate"].path / "report.json")
    contents = read_json(stages["pool"].path / "pool.json")
    generated = accepted = 0
    if made:
        per_class = read_json(made["accept"].path / "accept.json")["per_class"].values()
        generated, accepted = (sum(c[k] for c in per_class) for k in ("generated", "accepted"))
    seconds = {name: folder.seconds for name, folder in {**made, **stages}.items()}
    seconds["classifier"] += sum(folder.seconds for folder in earlier)
    record = RoundReport(
        round=number,
        arm=arm,
        generator_saw=generator_saw,
        protocol=protocol,
        val=figures["val"],
        test=figures["test"],
        n_real=contents["n_real"],
        n_generated=generated,
        n_accepted=accepted,
        acceptance_rate=accepted / generated if generated else None,
        optimizer_steps=steps,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        p_value_vs_round0=figures["p_value_vs_round0"],
        digests={name: folder.key for name, folder in {**made, **stages}.items()},
    )
    made_of = {"fidelity": read_json(made["fidelity"].path / "fidelity.json")} if made else {}
    return {**record.to_json(), "pool": contents, **({"reference": True} if reference else {}), **made_of}


def val_sensitivity(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the val sensitivity of each class of one (round, arm)."""
    return {dx: figures["sensitivity"]["value"] for dx, figures in report["val"]["per_class"].items()}
