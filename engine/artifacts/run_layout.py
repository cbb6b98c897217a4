"""Says where every file of a run folder lies; the only module that knows. It reads the report's schema and nothing else.

``<run>/rounds/NNNN/`` holds a round: its hard cases and synthetic images, and the files of its main arm (real in round 0,
hard later). Every other arm lies in ``arms/<arm>/`` there. In run folders of schema 1 arm ``plain`` lies under the name
real.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from engine.artifacts import (
    accept,
    asked,
    calibration,
    champion,
    checksums_json,
    classifier_fit,
    labels,
    report_json,
    review,
    run_stages,
    split,
    synthesized,
    tune_json,
)

ROUNDS: Final = "rounds"
ARMS: Final = "arms"
JOURNAL: Final = "journal.jsonl"
"""What marks the folder of a sweep."""
QUERIES: Final = "queries"
"""Where the questions of `hardcase query` lie, one numbered folder each; those of a round lie in the arm's folder."""
TRIALS: Final = "trials"
"""Where a sweep's trials lie, each an ordinary run folder."""
CACHE: Final = "stages"
"""Folder of the stage cache, beside the run folders of one output."""
FOUNDATION: Final = "foundation"
THUMBNAILS: Final = "thumbnails"
"""Folder of small pictures, in the stage's folder and in the run's round."""
NEAREST: Final = "nearest.png"
"""Sheet of synthetic images beside the nearest train image."""
SHEETS: Final = ("hard_cases.png", "synthetic.png", NEAREST)
"""Sheets of stage ``thumbnails``, each where there is something to show."""
REVIEW_SHEET: Final = "review.png"
"""Sheet of stage ``accept``, where a person decides."""


def main_arm(number: int) -> str:
    """Return the arm whose files lie directly in the round's folder: real in round 0, hard later."""
    return "real" if number == 0 else "hard"


def arm_role(number: int, arm: str, stage: str) -> str:
    """Return the role of one arm's stage, for example ``rounds/0001/hard/classifier``."""
    return f"{ROUNDS}/{number:04d}/{arm}/{stage}"


def seed_folder(seed: int) -> str:
    """Return the name of the folder of one further classifier seed, within an arm's."""
    return f"seed_{seed}"


def foundation_role(stage: str) -> str:
    """Return the role of a foundation stage, for example ``foundation/vae``."""
    return f"{FOUNDATION}/{stage}"


def arm_label(number: int, arm: str) -> str:
    """Return the short name of a (round, arm) that trackers keep, for example ``0001/hard``."""
    return f"{number:04d}/{arm}"


@dataclass(frozen=True)
class RunLayout:
    """A run folder, or a sweep's or a trial's."""

    path: Path

    @property
    def config(self) -> Path:
        """The config the run was made by."""
        return self.path / "config.yaml"

    @property
    def lock(self) -> Path:
        """Held by the one process that writes the run."""
        return self.path / ".lock"

    @property
    def split(self) -> Path:
        """The published split."""
        return self.path / split.FILE

    @property
    def report(self) -> Path:
        """The run's figures."""
        return self.path / report_json.FILE

    @property
    def page(self) -> Path:
        """The report as a page."""
        return self.path / "report.html"

    @property
    def champion(self) -> Path:
        """Which (round, arm) val puts first."""
        return self.path / champion.FILE

    @property
    def labels(self) -> Path:
        """What readers answered about unlabelled images."""
        return self.path / labels.FILE

    @property
    def queries(self) -> Path:
        """Folder of the questions of `hardcase query`: ``NNNN/asked.parquet``."""
        return self.path / QUERIES

    def questions(self) -> list[Path]:
        """Return every folder that holds questions, those of rounds first, in the order they were asked."""
        files = [*self.rounds.glob(f"*/{ARMS}/*/{asked.FILE}"), *self.queries.glob(f"*/{asked.FILE}")]
        return sorted({file.parent for file in files}, key=lambda p: (p.parent == self.queries, str(p)))

    @property
    def roles(self) -> Path:
        """Which stage folder plays which role."""
        return self.path / run_stages.ROLES

    @property
    def stage_log(self) -> Path:
        """Every stage the run used, with its seconds."""
        return self.path / run_stages.LOG

    @property
    def tracking(self) -> Path:
        """Ids of the tracked runs."""
        return self.path / "mlflow.json"

    @property
    def checksums(self) -> Path:
        """What the files of the run are held against."""
        return checksums_json.Checksums.path(self.path)

    @property
    def of_an_attempt(self) -> tuple[Path, ...]:
        """What a run that finished no round leaves of its config, besides the config: gone when another takes its name."""
        return (self.roles, self.report, self.page, self.champion, self.tracking, self.checksums)

    @property
    def figures(self) -> Path:
        """Folder of contact sheets."""
        return self.path / "figures"

    @property
    def contact_sheet(self) -> Path:
        """Real images, their reconstructions, synthetic images."""
        return self.figures / "contact_sheet.png"

    @property
    def profile(self) -> Path:
        """Traces and tables of what takes a stage's time, of runs that were asked for them."""
        return self.path / "profile"

    @property
    def journal(self) -> Path:
        """A sweep's journal."""
        return self.path / JOURNAL

    @property
    def is_sweep(self) -> bool:
        """Whether this is the folder of a sweep."""
        return self.journal.is_file()

    @property
    def of_a_sweep(self) -> tuple[Path, ...]:
        """What a sweep leaves beside its trials: gone when it begins afresh."""
        results = (tune_json.TuneRecord.path(self.path), tune_json.SCHEMA.path(self.path), self.best)
        return (self.journal, self.config, self.tracking, *results)

    @property
    def best(self) -> Path:
        """The best settings of a sweep, as a config."""
        return self.path / tune_json.BEST

    @property
    def attached(self) -> tuple[Path, ...]:
        """Files of a run or a sweep that a tracker keeps with its parent run, those that there are."""
        results = (tune_json.TuneRecord.path(self.path), tune_json.SCHEMA.path(self.path), self.best)
        return (self.page, self.report, self.config, self.split, self.champion, *results)

    def trial(self, number: int) -> RunLayout:
        """Return a sweep's trial; number 0 is what all trials share."""
        return RunLayout(self.path / TRIALS / f"{number:04d}")

    @property
    def cache(self) -> Path:
        """The stage cache: beside the run folders, shared by all runs of one output and the trials of its sweeps."""
        home = self.path.parent
        is_trial = home.name == TRIALS and RunLayout(home.parent).is_sweep
        return (home.parent.parent if is_trial else home) / CACHE

    @cached_property
    def schema(self) -> int:
        """The schema of the run folder, as it was when this was first asked."""
        return report_json.schema_of(self.path)

    @property
    def rounds(self) -> Path:
        """Folder of the rounds."""
        return self.path / ROUNDS

    def round_folder(self, number: int) -> Path:
        """Return the folder of a round."""
        return self.rounds / f"{number:04d}"

    def round_numbers(self) -> list[int]:
        """Return the rounds that have a folder, in order."""
        return sorted(int(p.name) for p in self.rounds.glob("*") if p.is_dir() and p.name.isdigit())

    def arm_folder(self, number: int, arm: str) -> Path:
        """Return where (round, arm) is published: the round's folder for its main arm, ``arms/<arm>`` otherwise."""
        folder = self.round_folder(number)
        name = self._written_as(arm)
        return folder if name == main_arm(number) else folder / ARMS / name

    def main_arm(self, number: int) -> str:
        """Return the arm whose files lie directly in the round's folder, by its name of today."""
        return report_json.arm_today(main_arm(number), self.schema)

    def _written_as(self, arm: str) -> str:
        """Return the name under which the folder holds an arm; an arm it cannot have gets one that it has not."""
        if self.schema > report_json.PLAIN_WAS_REAL:
            return arm
        return {"plain": "real", "real": "real of later runs"}.get(arm, arm)

    def weights(self, number: int, arm: str) -> Path:
        """Return the published classifier of a (round, arm)."""
        return self.arm_folder(number, arm) / classifier_fit.WEIGHTS

    def calibration(self, number: int, arm: str) -> Path:
        """Return its temperature and operating points."""
        return calibration.Calibration.path(self.arm_folder(number, arm))

    def published_arms(self) -> list[tuple[int, str]]:
        """Return every (round, arm) whose classifier is published, in order."""
        found = []
        for number in self.round_numbers():
            others = (p.name for p in (self.round_folder(number) / ARMS).glob("*"))
            arms = {report_json.arm_today(name, self.schema) for name in (main_arm(number), *others)}
            found += [(number, arm) for arm in arms if self.weights(number, arm).is_file()]
        return sorted(found)

    def accept(self, number: int) -> Path:
        """Return what the gates did in a round."""
        return accept.AcceptFacts.path(self.round_folder(number))

    def thumbnails(self, number: int) -> Path:
        """Return the folder of small pictures of a round's hard cases and their neighbours."""
        return self.round_folder(number) / THUMBNAILS

    def pictures(self, number: int) -> Path:
        """Return the folder of a round's synthetic images."""
        return self.round_folder(number) / synthesized.PICTURES

    def review(self, number: int, source: str) -> Path:
        """Return the CSV of a person's verdicts; another source's than hard lies in its own arm's folder."""
        return self.arm_folder(number, source) / review.FILE

    def relative(self, path: Path) -> str:
        """Return a file of the run as a path relative to it, with slashes."""
        return path.relative_to(self.path).as_posix()
