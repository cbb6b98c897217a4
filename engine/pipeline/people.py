"""What a run asks of people, classes of images and verdicts on synthetic ones, and what it waits for."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.arms import ARMS
from engine.artifacts.labels import Settled
from engine.history import History
from engine.labelling.answers import Answers, Reply, reply_to
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
        settled: what the answers said when each round read them; every arm of the round trains on this.
        places: where the questions of each round and arm lie.
    """

    pipeline: Pipeline
    publisher: Publisher
    answers: Answers
    history: History
    awaiting: list[Path] = field(default_factory=list)
    settled: dict[int, Settled] = field(default_factory=dict)
    places: dict[tuple[int, str], Path] = field(default_factory=dict)

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

    def look_at(self, sheet: Path, accept: StageFolder, verdicts: Mapping[str, str]) -> None:
        """Leave images and a CSV where a person decides; wait where nobody had decided on anything yet.

        ``verdicts`` are those that ``accept`` was given: one that came later has decided about no image of it.
        """
        self.publisher.review(sheet, accept)
        if not verdicts:
            self.awaiting.append(sheet)

    def ask(self, number: int, arms: Iterable[str]) -> None:
        """Ask the questions of a round for every arm that asks, then read the answers, once for all arms of the round."""
        asking = [arm for arm in arms if ARMS[arm].asks]
        if not asking:
            return
        known = self.settled.get(number - 1, Settled())
        for arm in asking:
            earlier = labels.images(self.history.questions(arm, number - 1))
            self.history.asked[(number, arm)] = labels.ask(
                self.pipeline, number, arm, self.history.arms[arm], earlier, reply_to(earlier, known)
            )
        for arm in asking:
            place = self.publisher.questions(number, arm, self.history.asked[(number, arm)])
            self.places[(number, arm)] = place
        images = [name for arm in asking for name in labels.images(self.history.questions(arm, number))]
        self.settled[number] = self.answers.now(images, self.pipeline.stages["split"].path)

    def reply(self, number: int, arm: str) -> Reply:
        """Return what had come back on an arm's questions so far when the round read the answers; wait for open ones."""
        source = ARMS[arm].labels
        found = reply_to(labels.images(self.history.questions(source, number)), self.settled[number])
        if found.open and source == arm:
            self.awaiting.append(self.places[(number, arm)])
        return found
