"""Opens a run folder for the commands that use what a run has made: which classifier, on which device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import build
from engine.artifacts import report_json
from engine.artifacts.report_json import LEAKY, UNKNOWN, RunReport
from engine.config import Config
from engine.errors import DataError
from engine.labelling.simulated import in_entry, in_train
from engine.report.wording import marks
from engine.store import RunFolder

if TYPE_CHECKING:
    from engine.artifacts.calibration import Calibration


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One classifier of a run: the weights and the calibration that (round, arm) published."""

    run: RunFolder
    round: int
    arm: str

    @property
    def folder(self) -> Path:
        """Where (round, arm) is published."""
        return self.run.arm_folder(self.round, self.arm)

    @property
    def weights(self) -> Path:
        """Its classifier.safetensors (DamagedError: it differs from its checksum)."""
        return self.run.whole(self.run.layout.weights(self.round, self.arm))

    @property
    def calibration(self) -> Calibration:
        """Its temperature and operating point, as fixed on val."""
        from engine.artifacts.calibration import Calibration

        return Calibration.read(self.folder)

    @property
    def name(self) -> str:
        """For tables and messages."""
        return f"round {self.round} {self.arm}"

    @property
    def protocol(self) -> str:
        """How the run was made: leaky where its config says so, else as report.json has it."""
        if self.run.config.loop.mine_from == "test":
            return "leaky"
        report = report_json.read_if_written(self.run.path)
        return report.protocol if report is not None else UNKNOWN

    @property
    def simulated(self) -> bool:
        """Whether it trained on labels that an oracle uncovered."""
        report = report_json.read_if_written(self.run.path)
        entry = report.entry(self.round, self.arm) if report is not None else None
        return in_train(self.run.path) if entry is None else in_entry(self.run.path, entry)

    @property
    def marked(self) -> str:
        """``name`` with LEAKY behind it where the protocol is, and SIMULATED LABELS where an oracle answered."""
        leaky = self.protocol if self.protocol in LEAKY else ""
        mark = marks(leaky, simulated=self.simulated)
        return f"{self.name} ({mark})" if mark else self.name


def choose(path: Path, round_number: int | None = None, arm: str | None = None) -> Chosen:
    """Return the champion of the run at ``path``, or what ``--round`` and ``--arm`` name.

    With only one of them given: the last round of that arm, or the main arm of that round.

    Raises:
        DataError: no run folder, no champion yet, or no such (round, arm); lists those there are.
    """
    run = build.open_run(path)
    if round_number is None and arm is None:
        champion = run.champion()
        return Chosen(run=run, round=champion.round, arm=champion.arm)
    known = run.layout.published_arms()
    fitting = [(r, a) for r, a in known if round_number in (None, r) and arm in (None, a)]
    if not fitting:
        asked = " ".join(f"--{k} {v}" for k, v in (("round", round_number), ("arm", arm)) if v is not None)
        there = ", ".join(f"{r} {a}" for r, a in known) or "none"
        raise DataError(f"{path}: has no classifier for {asked}; finished rounds and arms: {there}")
    number = max(r for r, _ in fitting)
    arms = [a for r, a in fitting if r == number]
    main = run.layout.main_arm(number)
    return Chosen(run=run, round=number, arm=main if main in arms else arms[0])


def read_report(path: Path) -> RunReport:
    """Return the report of a run folder (DataError: it is none or broken, or the run has not got that far)."""
    build.open_run(path)
    if not RunReport.present(path):
        raise DataError(f"{path}: has no report.json yet; rerun `hardcase run` to resume it")
    return report_json.read(path)


def local(config: Config) -> Config:
    """The same config on this machine: commands on finished runs start no cluster and track nothing."""
    backend = config.backend.model_copy(
        update={
            "kind": "local",
            "address": None,
            "train_workers": 0,
            "map_workers": 0,
            "gpus_per_worker": 0.0,
            "device": config.backend.device if config.backend.kind == "local" else "auto",
        }
    )
    tracking = config.tracking.model_copy(update={"kind": "none"})
    return config.model_copy(update={"backend": backend, "tracking": tracking})
