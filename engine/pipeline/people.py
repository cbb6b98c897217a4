"""What a run asks of people, classes of images and verdicts on synthetic ones, and what it waits for."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from engine.arms import ARMS
from engine.artifacts.review import read_verdicts
from engine.history import History
from engine.labelling.answers import Answers, Reply
from engine.pipeline import labels
from engine.pipeline.pipeline import Pipeline
from engine.pipeline.publish import Publisher
from engine.store import StageFolder
from engine.types import Action, StopDecision


@dataclass(frozen=True, kw_only=True)
class People:
    """The people beside one run.

    Attributes:
        pipeline: the run's.
        publisher: puts questions and sheets where people find them.
        answers: what they have answered.
        history: what the run has so far; questions are noted in it.
        awaiting: what the run waits for: a CSV to fill in, or a folder of questions. It ends where there is one.
    """

    pipeline: Pipeline
    publisher: Publisher
    answers: Answers
    history: History
    awaiting: list[Path] = field(default_factory=list)

    def decision(self) -> StopDecision:
        """End the run here until a person has looked."""
        files = ", ".join(str(path) for path in self.awaiting if path.is_file())
        steps = [f"fill in {files}"] if files else []
        if any(path.is_dir() for path in self.awaiting):
            steps.append(f"answer what is asked (`hardcase review {shlex.quote(str(self.answers.run))}`)")
        return StopDecision(action=Action.REVIEW, reason=f"{' and '.join(steps)}, then run the same command")

    def sheet(self, number: int, source: str) -> Path:
        """Return where the verdicts on a round's images lie: beside what the arm publishes."""
        return self.publisher.layout.review(number, source)

    def look_at(self, sheet: Path, accept: StageFolder) -> None:
        """Leave images and a CSV where a person decides; wait where nobody has decided on anything yet."""
        self.publisher.review(sheet, accept)
        if not read_verdicts(sheet):
            self.awaiting.append(sheet)

    def name(self, number: int, arm: str) -> Reply:
        """Ask about unlabelled images where the arm does, and return what has come back on its questions so far."""
        source = ARMS[arm].labels
        if source == arm:
            earlier = self.history.questions(arm, number - 1)
            found = labels.ask(self.pipeline, number, arm, self.history.arms[arm], earlier)
            self.history.asked[(number, arm)] = found
            place = self.publisher.questions(number, arm, found)
        reply = labels.bought(self.pipeline, self.answers, self.history.questions(source, number))
        if reply.open and source == arm:
            self.awaiting.append(place)
        return reply
