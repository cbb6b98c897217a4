"""The object of one (round, arm) in report.json, from its finished stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.arms import ARMS
from engine.artifacts import accept, fidelity, pool, scores
from engine.artifacts.report_json import BoughtLabels, RoundEntry
from engine.config import Config
from engine.history import Fit, Trained


@dataclass(frozen=True, kw_only=True)
class RoundFacts:
    """What the stages themselves do not know.

    ``generator_saw``: what the generator parts learned from. ``protocol``: as in report.json; it is repeated
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


def round_report(facts: RoundFacts, task: Fit, trained: Trained) -> RoundEntry:
    """Return report.json's object of one (round, arm); fits passed through on the way count in its seconds."""
    figures = scores.read(trained.evaluate.path)
    contents = pool.read_facts(task.pool.path)
    made = task.made.folders if task.made is not None else {}
    folders = {
        **made,
        "pool": task.pool,
        "classifier": trained.first.classifier,
        "predict": trained.first.predict,
        "evaluate": trained.evaluate,
    }
    generated = accepted = 0
    if task.made is not None:
        found = accept.read(task.made.accept.path)
        generated, accepted = (sum(counts.values()) for counts in (found.generated, found.accepted))
    if task.ask is not None:
        folders["ask"] = task.ask
    seconds = {name: folder.seconds for name, folder in folders.items()}
    every = [folder for done in trained.seeds for folder in done.classifiers]
    seconds["classifier"] = sum(folder.seconds for folder in every)
    seconds["predict"] = sum(done.predict.seconds for done in trained.seeds)
    more: dict[str, Any] = {"pool": contents.content()}
    if figures.seeds is not None:
        more["seeds"] = {"seeds": [done.seed for done in trained.seeds], **figures.seeds}
    if facts.reference:
        more["reference"] = True
    if task.bought is not None:
        more["labels"] = BoughtLabels(
            asked=task.bought.asked,
            answered=len(task.bought.labels),
            conflicts=task.bought.conflicts,
            unsure=task.bought.unsure,
            simulated=task.bought.simulated,
        )
    if task.made is not None:
        more["fidelity"] = fidelity.read(task.made.fidelity.path).content()
    return RoundEntry(
        round=task.round,
        arm=task.arm,
        generator_saw=facts.generator_saw,
        protocol=facts.protocol,
        val=figures.val,
        test=figures.test,
        n_real=contents.n_real,
        n_generated=generated,
        n_accepted=accepted,
        acceptance_rate=accepted / generated if generated else None,
        optimizer_steps=facts.optimizer_steps,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        p_value_vs_round0=figures.p_value_vs_round0,
        digests={name: folder.key for name, folder in folders.items()},
        **more,
    )
