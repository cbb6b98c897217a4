"""What a run leaves behind: its report, the page, the champion, and the tracked run, closed however the run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.artifacts import champion, run_stages
from engine.errors import StoppedError
from engine.history import History
from engine.pipeline.pipeline import Pipeline
from engine.pipeline.publish import Publisher
from engine.pipeline.run_report import champion_of, protocol, run_report
from engine.tracking.base import Tracker
from engine.types import Action, StopDecision


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of one run.

    Attributes:
        pipeline: the run's, with its config.
        publisher: writes the files that people read.
        tracker: the tracked run.
        history: what the run has so far.
        render: draws report.html of a run folder that has its report.json.
    """

    pipeline: Pipeline
    publisher: Publisher
    tracker: Tracker
    history: History
    render: Callable[[Path], object]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """On any error, publish the report with ``stopping`` failed and close the tracked run as failed."""
        try:
            yield
        except BaseException as error:
            parts = self.pipeline.stages
            if "split" in parts and parts["split"].ready:
                stopped = isinstance(error, StoppedError | KeyboardInterrupt)
                with suppress(OSError):  # a full disk must not hide what stopped the run, nor leave it open
                    self.publish(StopDecision(action=Action.FAILED, reason="the run did not finish"))
                self.close("KILLED" if stopped else "FAILED")
            raise

    def publish(self, decision: StopDecision) -> dict[str, Any]:
        """Write report.json as it stands and return it."""
        folder = self.publisher.folder.path
        report = run_report(
            self.pipeline.config,
            config_digest=self.pipeline.config_digest,
            foundation={name: folder for name, folder in self.pipeline.stages.items() if folder.ready},
            rounds=self.history.reports,
            champion=champion.read_if_crowned(folder) if self.history.reports else None,
            decision=decision,
            device=self.pipeline.runner.device,
            failed=run_stages.failed_attempts(folder),
        )
        self.publisher.report(report)
        return report.to_json()

    def close(self, status: str) -> None:
        """Draw the report page, which the tracker attaches, and close the tracked run.

        A page that cannot be drawn is raised once the tracked run is closed, unless the run itself failed: it must not
        hide what stopped the run.
        """
        folder, problem = self.publisher.folder.path, None
        try:
            self.render(folder)
        except Exception as error:
            problem = error
        self.tracker.finish(status, folder)
        if problem is not None and status == "FINISHED":
            raise problem

    def protocol(self) -> str:
        """Return the protocol: whether images of a lesion may stand on two sides."""
        images, split = (self.pipeline.stages[name] for name in ("images", "split"))
        return protocol(self.pipeline.config.loop, images, split)

    def crown(self, keep_round: int | None = None) -> None:
        """Name the best (round, arm) by val, none after ``keep_round`` where given. A leaky run crowns none."""
        if self.protocol() == "leaky":
            return
        reports = self.history.reports
        best = champion_of(reports, self.pipeline.config.evaluation.champion, keep_round)
        if self.publisher.champion(best, after_round=max(entry.round for entry in reports)):
            self.tracker.register_champion(best.to_json(), self.publisher.folder.path)
