"""Opens a run folder for the commands that use what a run has made: which classifier, on which device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import build
from engine.config import Config
from engine.errors import DataError
from engine.report.wording import MARKS
from engine.store import RunFolder
from engine.store.files import read_json

if TYPE_CHECKING:
    from engine.classifier.calibration import Calibration


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
        return self.run.whole(self.folder / "classifier.safetensors")

    @property
    def calibration(self) -> Calibration:
        """Its temperature and operating point, as fixed on val."""
        from engine.classifier.calibration import Calibration

        return Calibration.read(self.folder)

    @property
    def name(self) -> str:
        """For tables and messages."""
        return f"round {self.round} {self.arm}"

    @property
    def protocol(self) -> str:
        """How the run was made: safe, leaky (its config says so) or groups_unknown, as report.json has it."""
        if self.run.config.loop.mine_from == "test":
            return "leaky"
        path = self.run.path / "report.json"
        report = read_json(path) if path.is_file() else {}
        return str(report.get("protocol", "groups_unknown")) if isinstance(report, dict) else "groups_unknown"

    @property
    def marked(self) -> str:
        """``name`` with LEAKY behind it where the run was mined from test."""
        return f"{self.name} ({MARKS['leaky']})" if self.protocol == "leaky" else self.name


def choose(path: Path, round_number: int | None = None, arm: str | None = None) -> Chosen:
    """Return the champion of the run at ``path``, or what ``--round`` and ``--arm`` name.

    With only one of them given: the last round of that arm, or the main arm of that round.

    Raises:
        DataError: no run folder, no champion yet, or no such (round, arm); lists those there are.
    """
    run = build.open_run(path)
    if round_number is None and arm is None:
        champion = run.champion()
        return Chosen(run=run, round=champion["round"], arm=champion["arm"])
    known = finished_arms(run)
    fitting = [(r, a) for r, a in known if round_number in (None, r) and arm in (None, a)]
    if not fitting:
        asked = " ".join(f"--{k} {v}" for k, v in (("round", round_number), ("arm", arm)) if v is not None)
        there = ", ".join(f"{r} {a}" for r, a in known) or "none"
        raise DataError(f"{path}: has no classifier for {asked}; finished rounds and arms: {there}")
    number = max(r for r, _ in fitting)
    arms = [a for r, a in fitting if r == number]
    main = "real" if number == 0 else "hard"
    return Chosen(run=run, round=number, arm=main if main in arms else arms[0])


def finished_arms(run: RunFolder) -> list[tuple[int, str]]:
    """Return every (round, arm) whose classifier is published, in order."""
    found = set()
    for weights in (run.path / "rounds").glob("**/classifier.safetensors"):
        parts = weights.relative_to(run.path / "rounds").parts
        if parts[0].isdigit():
            number = int(parts[0])
            found.add((number, parts[2] if parts[1] == "arms" else "real" if number == 0 else "hard"))
    return sorted(found)


def read_report(path: Path) -> dict[str, Any]:
    """Return report.json's object of a run folder (DataError: it is none or broken, or the run has not got that far)."""
    build.open_run(path)
    if not (path / "report.json").is_file():
        raise DataError(f"{path}: has no report.json yet; rerun `hardcase run` to resume it")
    from engine.artifacts import run_files as report_files

    return report_files.read_report(path)


def find_entry(report: Mapping[str, Any], round_number: int, arm: str) -> dict[str, Any] | None:
    """Return the object of one (round, arm) in report.json, None where it is missing."""
    found = [r for r in report["rounds"] if (r["round"], r["arm"]) == (round_number, arm)]
    return dict(found[0]) if found else None


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
