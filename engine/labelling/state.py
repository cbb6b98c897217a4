"""How far the labelling of a run is: what was asked, who answered what, where readers disagree, and how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.artifacts import labels
from engine.artifacts.labels import ORACLE, Answer, Settled
from engine.labelling.agreement import Agreement, pairs, several
from engine.labelling.guess import WithModel, with_model
from engine.labelling.questions import asked_images, guesses
from engine.labelling.run_images import RunImages


@dataclass(frozen=True, kw_only=True)
class ReaderCount:
    """What stands of one reader, and how many earlier answers of theirs were changed or withdrawn."""

    reader: str
    labels: int
    unsure: int
    changed: int
    withdrawn: int


@dataclass(frozen=True, kw_only=True)
class LabellingState:
    """What a run's questions and answers come to.

    Attributes:
        asked: images asked about.
        open: of those, the ones that nobody has answered.
        unasked: images with an answer that were not asked about.
        settled: what the answers say of each image.
        readers: one entry per reader, by name.
        pairs: agreement of each two readers; the oracle counts as one here.
        several: agreement of all people together.
        with_model: whether answers after the model's guess are like it more often.
    """

    asked: int
    open: int
    unasked: int
    settled: Settled
    readers: tuple[ReaderCount, ...]
    pairs: tuple[Agreement, ...]
    several: Agreement | None
    with_model: WithModel

    @property
    def simulated(self) -> bool:
        """Whether the oracle answered anything."""
        return any(count.reader == ORACLE for count in self.readers)


def labelling_state(run: Path) -> LabellingState:
    """Return the state of a run folder (DataError: it is none, has no split yet, or a file is damaged)."""
    images = RunImages.of(run)
    answers = labels.read(run)
    standing = labels.standing(answers)
    settled = labels.settle(answers)
    questions = asked_images(run)
    said = {
        image: {reader: answer.dx for reader, answer in of.items() if answer.kind == "label"}
        for image, of in standing.items()
    }
    people = {
        image: {reader: dx for reader, dx in of.items() if reader != ORACLE} for image, of in said.items()
    }
    return LabellingState(
        asked=len(questions),
        open=sum(image not in settled.answered for image in questions),
        unasked=len(settled.answered - set(questions)),
        settled=settled,
        readers=_counts(answers),
        pairs=pairs(said, images.group),
        several=several(people, images.group),
        with_model=with_model(
            [answer for of in standing.values() for answer in of.values()], guesses(run), images.group
        ),
    )


def _counts(answers: Sequence[Answer]) -> tuple[ReaderCount, ...]:
    now = Counter(
        (reader, answer.kind) for of in labels.standing(answers).values() for reader, answer in of.items()
    )
    withdrawn, changed = Counter[str](), Counter[str]()
    last: dict[tuple[str, str], Answer] = {}
    for answer in answers:
        before = last.get((answer.image_id, answer.reader))
        if before is not None and before.kind != "withdrawn":
            withdrawn[answer.reader] += answer.kind == "withdrawn"
            changed[answer.reader] += answer.kind != "withdrawn" and (before.kind, before.dx) != (
                answer.kind,
                answer.dx,
            )
        last[answer.image_id, answer.reader] = answer
    return tuple(
        ReaderCount(
            reader=reader,
            labels=now[reader, "label"],
            unsure=now[reader, "unsure"],
            changed=changed[reader],
            withdrawn=withdrawn[reader],
        )
        for reader in sorted({answer.reader for answer in answers})
    )
