"""The object of one (round, arm) in report.json, from its finished stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.arms import ARMS
from engine.config import Config
from engine.history import Fit, Trained
from engine.store.files import read_json
from engine.types import RoundReport


@dataclass(frozen=True, kw_only=True)
class RoundFacts:
    """What the stages themselves do not know.

    ``generator_saw``: what the generator parts learned from. ``protocol``: safe, leaky or groups_unknown; it is repeated
    here since a round's report is read without the run's. ``optimizer_steps``: those the arm has had in all.
    ``reference``: the arm trains on real images that no other arm sees itself; it is something to look at, no bar to clear.
    """

    generator_saw: str
    protocol: str
    optimizer_steps: int
    reference: bool = False

    @classmethod
    def of(cls, config: Config, arm: str, *, protocol: str, optimizer_steps: int) -> RoundFacts:
        """Return the facts of one arm. Neighbours may come from images that only the generator parts saw."""
        sets, saw = config.data.split.train_sets, config.loop.generator_saw
        return cls(
            generator_saw=saw,
            protocol=protocol,
            optimizer_steps=optimizer_steps,
            reference=ARMS[arm].adds == "neighbours" and saw == "train" and sets is not None,
        )


def round_report(facts: RoundFacts, task: Fit, trained: Trained) -> dict[str, Any]:
    """Return report.json's object of one (round, arm); fits passed through on the way count in its seconds."""
    figures = read_json(trained.evaluate.path / "report.json")
    contents = read_json(task.pool.path / "pool.json")
    made = task.made.folders if task.made is not None else {}
    folders = {
        **made,
        "pool": task.pool,
        "classifier": trained.classifier,
        "predict": trained.predict,
        "evaluate": trained.evaluate,
    }
    generated = accepted = 0
    if task.made is not None:
        per_class = read_json(task.made.accept.path / "accept.json")["per_class"].values()
        generated, accepted = (sum(c[k] for c in per_class) for k in ("generated", "accepted"))
    seconds = {name: folder.seconds for name, folder in folders.items()}
    seconds["classifier"] += sum(folder.seconds for folder in trained.classifiers[:-1])
    record = RoundReport(
        round=task.round,
        arm=task.arm,
        generator_saw=facts.generator_saw,
        protocol=facts.protocol,
        val=figures["val"],
        test=figures["test"],
        n_real=contents["n_real"],
        n_generated=generated,
        n_accepted=accepted,
        acceptance_rate=accepted / generated if generated else None,
        optimizer_steps=facts.optimizer_steps,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        p_value_vs_round0=figures["p_value_vs_round0"],
        digests={name: folder.key for name, folder in folders.items()},
    )
    more: dict[str, Any] = {"pool": contents}
    if facts.reference:
        more["reference"] = True
    if task.made is not None:
        more["fidelity"] = read_json(task.made.fidelity.path / "fidelity.json")
    return {**record.to_json(), **more}


def val_sensitivity(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the val sensitivity of each class of one (round, arm)."""
    return {dx: figures["sensitivity"]["value"] for dx, figures in report["val"]["per_class"].items()}
