"""What a run has so far: each arm's latest state, the images made in each round, the finished reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from engine.artifacts.report_json import RoundEntry
from engine.labelling.answers import Reply
from engine.store import StageFolder


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """One arm after one round: its classifiers and predictions, one per seed, and the optimizer steps each has had."""

    classifiers: tuple[StageFolder, ...]
    predicts: tuple[StageFolder, ...]
    steps: int

    @property
    def classifier(self) -> StageFolder:
        """The first seed's, whose mistakes are mined."""
        return self.classifiers[0]

    @property
    def predict(self) -> StageFolder:
        """The first seed's predictions."""
        return self.predicts[0]


@dataclass(frozen=True, kw_only=True)
class Made:
    """The stages that made one round's images for one arm; ``crossfit`` where hard cases were mined out of fold."""

    mine: StageFolder
    condition: StageFolder
    synthesize: StageFolder
    accept: StageFolder
    fidelity: StageFolder
    crossfit: StageFolder | None = None

    @property
    def folders(self) -> dict[str, StageFolder]:
        """The folders that the round's report counts, by stage name."""
        names = (f.name for f in fields(self) if f.name != "crossfit")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One training of an arm in a round.

    Attributes:
        round: the round.
        arm: the arm.
        pool: what it trains on.
        steps: optimizer steps per fit.
        fits: the rounds that the fits stand for, one fit each. An arm that was left out of earlier rounds has one fit per
            skipped round, so that its schedule matches ``hard``'s.
        start: what it goes on from; None: random weights.
        made: the arm's own synthesis of this round, None where it makes no images.
        bought: the labels that the arm has had so far, None where it has none.
        ask: the round's questions; None where it has none, or they were another arm's.
    """

    round: int
    arm: str
    pool: StageFolder
    steps: int
    fits: Sequence[int]
    start: ArmState | None = None
    made: Made | None = None
    bought: Reply | None = None
    ask: StageFolder | None = None


@dataclass(frozen=True, kw_only=True)
class SeedFit:
    """What one seed of a ``Fit`` left: every classifier it passed through, and the last one's predictions."""

    seed: int
    classifiers: tuple[StageFolder, ...]
    predict: StageFolder

    @property
    def classifier(self) -> StageFolder:
        """The classifier that counts."""
        return self.classifiers[-1]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one ``Fit`` left: one entry per seed, and the figures of all together."""

    seeds: tuple[SeedFit, ...]
    evaluate: StageFolder

    @property
    def first(self) -> SeedFit:
        """The seed that is mined, published in the arm's own folder, and exported."""
        return self.seeds[0]

    @property
    def folders(self) -> tuple[StageFolder, ...]:
        """Every folder of it."""
        fits = [(*done.classifiers, done.predict) for done in self.seeds]
        return (self.evaluate, *(folder for fit in fits for folder in fit))

    def state(self, steps: int) -> ArmState:
        """Return where the arm stands after ``steps`` optimizer steps."""
        return ArmState(
            classifiers=tuple(fit.classifier for fit in self.seeds),
            predicts=tuple(fit.predict for fit in self.seeds),
            steps=steps,
        )


@dataclass
class History:
    """What a run has so far: arms by name (latest state), images by round and source, finished reports."""

    arms: dict[str, ArmState] = field(default_factory=dict)
    trained_in: dict[str, int] = field(default_factory=dict)
    sources: dict[tuple[int, str], Made] = field(default_factory=dict)
    asked: dict[tuple[int, str], StageFolder] = field(default_factory=dict)
    """The questions of every round, by round and arm."""
    hard: list[ArmState] = field(default_factory=list)
    """The engine's own arm after each round, round 0 first."""
    reports: list[RoundEntry] = field(default_factory=list)

    def made(self, source: str, until: int) -> Mapping[int, Made]:
        """Return the synthesis stages of ``source`` by round, up to and with ``until``."""
        return {
            number: stages
            for (number, kind), stages in self.sources.items()
            if kind == source and number <= until
        }

    def questions(self, arm: str, until: int) -> list[StageFolder]:
        """Return the questions asked for ``arm``, up to and with round ``until``, in order."""
        return [
            folder
            for (number, name), folder in sorted(self.asked.items(), key=lambda item: item[0][0])
            if name == arm and number <= until
        ]

    def start_from(self, state: ArmState, arms: Sequence[str]) -> None:
        """Let every arm begin at ``state``, which round 0 trained."""
        self.arms = dict.fromkeys(arms, state)
        self.trained_in = dict.fromkeys(arms, 0)
        self.hard.append(state)
