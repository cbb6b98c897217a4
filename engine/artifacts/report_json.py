"""Reads and writes ``report.json`` of a run and of a round: the figures of every (round, arm), and how the run was made.

Only ``round`` and ``arm`` of an entry are required: earlier reports lack keys that came later. Reports of schema 1 call arm
``plain`` real, and are read with its name of today. A newer schema is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from engine.artifacts.json_record import JsonPart, JsonRecord, json_value
from engine.artifacts.schema import REMEDY
from engine.errors import DataError

FILE: Final = "report.json"
SCHEMA_VERSION: Final = 2
PLAIN_WAS_REAL: Final = 1
"""Last schema in which ``real`` was the name of arm ``plain``: it trained with flips alone, the other arms did not."""
FINISHED: Final = ("stop", "roll_back")
"""What a stopping policy says after the last round of a finished run."""
UNKNOWN: Final = "groups_unknown"
"""Protocol of a report that names none: the careful reading."""
DUPLICATES: Final = "leaky_by_duplicates"
"""The protocol where pairs of near-duplicates lie in two parts of the split."""
LEAKY: Final = ("leaky", DUPLICATES)
"""The protocols whose figures are optimistic, and are marked so wherever they are shown."""
PROTOCOL: Final = f"safe, leaky, {DUPLICATES} or {UNKNOWN}"

OLDER_NAMES: Final = {"log_loss": "nll"}
"""Figures that reports before 0.2 hold under another name."""

Part = Literal["val", "test"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


def figures_in(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Figure]]:
    """Yield the dotted name of every figure with an interval below a metric object, such as ``malignant.auc``."""
    for name, found in metrics.items():
        if not isinstance(found, Mapping):
            continue
        if {"value", "low", "high"} <= set(found):
            yield f"{prefix}{name}", Figure(value=found["value"], low=found["low"], high=found["high"])
        else:
            yield from figures_in(found, f"{prefix}{name}.")


def figure_in(metrics: Mapping[str, Any], name: str) -> Figure:
    """Return a figure of a metric object such as ``malignant.sensitivity``; undefined where it holds none."""
    found: Any = metrics
    for step in steps_of(name if name in metrics else OLDER_NAMES.get(name, name)):
        found = found.get(step) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return Figure(value=found if isinstance(found, int | float) else None)
    return Figure(value=found.get("value"), low=found.get("low"), high=found.get("high"))


def steps_of(name: str) -> list[str]:
    """Return the keys that a figure's dotted name goes down; a class may have dots in its own name."""
    start, _, rest = name.partition(".")
    return [start, *rest.rpartition(".")[::2]] if start == "per_class" else name.split(".")


class Stopping(JsonPart):
    """How a run ended, or stands."""

    action: str = Field("", description="continue, stop, roll_back, review or failed")
    reason: str = Field("", description="why, in words")
    keep_round: int | None = Field(None, description="of a roll-back: the last round that may be champion")


class BoughtLabels(JsonPart):
    """The labels that an arm has had up to a round."""

    asked: int = Field(description="images asked about in all rounds so far")
    answered: int = Field(description="those that got a class on which all readers agree; they train")
    conflicts: int = Field(description="those on which readers do not agree")
    unsure: int = Field(description="those of which nobody could tell")
    simulated: bool = Field(description="SIMULATED LABELS: hidden ones were uncovered, no reader answered")


class RoundEntry(JsonRecord):
    """One (round, arm): an object of ``rounds``, and the ``report.json`` of its own folder."""

    FILE: ClassVar[str] = FILE

    round: int = Field(description="the round; 0 is plain training")
    arm: str = Field(description="the arm")
    generator_saw: str = Field(
        "", description="train, own or unlabelled: images the generator's parts learned from"
    )
    protocol: str = Field(UNKNOWN, description=PROTOCOL)
    val: dict[str, Any] = Field(default_factory=dict, description="figures of val, which decide")
    test: dict[str, Any] = Field(default_factory=dict, description="figures of test, which never decide")
    n_real: int = Field(0, description="different real images it trained on")
    n_generated: int = Field(0, description="synthetic images made for it in this round")
    n_accepted: int = Field(0, description="those that the gates accepted")
    acceptance_rate: float | None = Field(None, description="n_accepted / n_generated; null without images")
    optimizer_steps: int = Field(0, description="steps it has had in all rounds")
    seconds: dict[str, float] = Field(default_factory=dict, description="seconds per stage")
    p_value_vs_round0: float | None = Field(None, description="paired test against round 0 on test")
    digests: dict[str, str] = Field(default_factory=dict, description="key per stage")
    pool: dict[str, Any] | None = Field(None, description="pool.json")
    reference: bool = Field(False, description="trains on real images no other arm sees: no bar to clear")
    fidelity: dict[str, Any] | None = Field(
        None, description="fidelity.json, of an arm with synthetic images"
    )
    seeds: dict[str, Any] | None = Field(
        None,
        description="with loop.seeds: seeds, and per part and figure {mean, sd, values}, one value per seed; since 0.3",
    )

    labels: BoughtLabels | None = Field(
        None,
        description="of an arm that trains on newly labelled images: what was asked and answered so far; since 0.3",
    )

    def metrics(self, part: Part) -> dict[str, Any]:
        """Return the metric object of a part."""
        return self.val if part == "val" else self.test

    def figure(self, part: Part, name: str) -> Figure:
        """Return a figure such as ``macro_f1`` or ``malignant.sensitivity``; undefined where the report has none."""
        return figure_in(self.metrics(part), name)

    def per_class(self, part: Part, name: str) -> dict[str, float | None]:
        """Return a figure's value per class, such as ``sensitivity``."""
        classes = self.metrics(part).get("per_class") or {}
        return {dx: self.figure(part, f"per_class.{dx}.{name}").value for dx in classes}


class FailedAttempt(JsonPart):
    """An attempt at a stage that failed before another one finished it."""

    cause: str = Field(description="worker lost, node lost, preempted, out of memory, disk full or exception")
    said: str = Field("", description="what was said about it, in one line")
    seconds: float = Field(0.0, description="how long it had taken")


class RunReport(JsonRecord):
    """A run: its ``report.json``."""

    FILE: ClassVar[str] = FILE

    schema_version: int = Field(SCHEMA_VERSION, description="version of this layout")
    name: str = Field("", description="name of the run")
    protocol: str = Field(UNKNOWN, description=PROTOCOL)
    config_digest: str = Field("", description="hash of every key that decides what is computed")
    split_digest: str = Field("", description="hash of the split")
    data: dict[str, Any] = Field(
        default_factory=dict,
        description="format, n_images, n_lesions, grouped_by, masks, n_skipped, counts; duplicates_apart (pairs of "
        "near-duplicates in two parts), without_group ('20 of 320' images in use have no id), unlabelled (images without a "
        "diagnosis) and answered (train images whose class readers gave outside the rounds) where there are some",
    )
    stopping: Stopping = Field(default_factory=Stopping, description="how the run ended, or stands")
    champion: dict[str, Any] | None = Field(None, description="champion.json; null where nobody was crowned")
    foundation_seconds: dict[str, float] = Field(
        default_factory=dict, description="seconds per foundation stage"
    )
    device: str = Field("", description="torch device of the stages")
    likelihood: dict[str, Any] | None = Field(None, description="likelihood.json, where it was measured")
    failed_attempts: dict[str, tuple[FailedAttempt, ...]] | None = Field(
        None, description="of stages that took more than one attempt, by role: those that failed; since 0.3"
    )
    rounds: tuple[RoundEntry, ...] = Field(
        description="one object per (round, arm), the main arm first in its round"
    )

    @property
    def finished(self) -> bool:
        """Whether the run has ended by itself."""
        return self.stopping.action in FINISHED

    def entry(self, number: int, arm: str) -> RoundEntry | None:
        """Return one (round, arm), None where the run has not got it."""
        return next((e for e in self.rounds if (e.round, e.arm) == (number, arm)), None)

    def of_round(self, number: int | None) -> tuple[RoundEntry, ...]:
        """Return the arms of a round, in the report's order."""
        return tuple(e for e in self.rounds if e.round == number)

    def of_arm(self, arm: str) -> tuple[RoundEntry, ...]:
        """Return the rounds of an arm, in the report's order."""
        return tuple(e for e in self.rounds if e.arm == arm)

    def last_round(self, arm: str = "hard") -> int | None:
        """Return the last round that trained an arm, None where none did."""
        return max((e.round for e in self.of_arm(arm)), default=None)


def read(run: Path) -> RunReport:
    """Read the ``report.json`` of a run folder.

    Raises:
        DataError: it is absent or damaged, holds no list of rounds, or is of a newer schema.
    """
    path = RunReport.path(run)
    if not path.is_file():
        raise DataError(f"{path}: missing; the run has not finished a round yet, or this is no run folder")
    found = json_value(path)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise DataError(
            f"{path}: has schema_version {version}, this hardcase reads up to {SCHEMA_VERSION}; install the hardcase that "
            "made the run, or run it again under another name"
        )
    rounds = found.get("rounds") if isinstance(found, dict) else None
    if not isinstance(rounds, list) or not all(
        isinstance(r, dict) and {"round", "arm"} <= set(r) for r in rounds
    ):
        raise DataError(f"{path}: holds no list of rounds; {REMEDY}")
    return _renamed(RunReport.of(found, path))


def _renamed(report: RunReport) -> RunReport:
    """Return the report with the arms' names of today."""
    if report.schema_version > PLAIN_WAS_REAL:
        return report
    rounds = tuple(
        entry.model_copy(update={"arm": arm_today(entry.arm, report.schema_version)})
        for entry in report.rounds
    )
    changes: dict[str, Any] = {"rounds": rounds}
    if report.champion is not None and "arm" in report.champion:
        arm = arm_today(str(report.champion["arm"]), report.schema_version)
        changes["champion"] = {**report.champion, "arm": arm}
    return report.model_copy(update=changes)


def arm_today(arm: str, schema: int) -> str:
    """Return what an arm of a run folder of that schema is called today."""
    return "plain" if arm == "real" and schema <= PLAIN_WAS_REAL else arm


def schema_of(run: Path) -> int:
    """Return the schema that a run folder's report was written in; today's where it has none yet, or a damaged one."""
    try:
        found = json_value(RunReport.path(run)) if RunReport.present(run) else {}
    except DataError:
        return SCHEMA_VERSION
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int):
        return version
    return PLAIN_WAS_REAL if isinstance(found, dict) and found.get("rounds") else SCHEMA_VERSION


def read_if_written(run: Path) -> RunReport | None:
    """Return the report, None where the run has not written one yet (DataError as ``read`` where it is damaged)."""
    return read(run) if RunReport.present(run) else None


def names_rounds(run: Path) -> bool:
    """Whether a run folder's report holds a round; whatever is no report of ours counts as one, so that nothing is lost.

    Raises:
        DataError: the file is no JSON.
    """
    found = json_value(RunReport.path(run)) if RunReport.present(run) else {}
    return not isinstance(found, dict) or bool(found.get("rounds"))


def write(report: RunReport, run: Path) -> None:
    """Write the ``report.json`` of a run folder."""
    report.write(run)


def read_round(folder: Path) -> RoundEntry:
    """Read the ``report.json`` of a published (round, arm) (DataError: absent or damaged)."""
    return RoundEntry.read(folder)


def write_round(entry: RoundEntry, folder: Path) -> None:
    """Write the ``report.json`` of a published (round, arm)."""
    entry.write(folder)
