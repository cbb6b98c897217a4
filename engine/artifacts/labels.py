"""Reads and writes ``labels.parquet``: every answer of a person to "what does this image show?", in the order given.

The file only grows: an answer is changed or withdrawn by a further line, and none is ever lost or averaged away. What counts
is read from it by ``settle``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

import pandas as pd

from engine.artifacts.schema import Column, TableSchema
from engine.artifacts.whole_files import only_writer, synced_file
from engine.errors import DataError

FILE: Final = "labels.parquet"
LOCK: Final = ".labels.lock"
ORACLE: Final = "oracle"
"""The reader's name of labels that were hidden and uncovered again; no person has it."""
Kind = Literal["label", "unsure", "withdrawn"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""What an answer is: a class, "I cannot tell", or the earlier answer of the same reader taken back."""
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=(),
    row="one answer, in the order given; the last one of a reader on an image counts",
    remedy="put its last copy back: it holds what people answered, and nothing makes it again",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(name="kind", kind="text", meaning="label, unsure or withdrawn"),
        Column(name="dx", kind="text", meaning='the class given; "" unless kind is label'),
        Column(name="reader", kind="text", meaning="who answered; oracle: a hidden label, uncovered"),
        Column(name="at", kind="text", meaning="when, UTC, ISO 8601"),
        Column(
            name="guess_shown", kind="flag", meaning="whether the model's guess was shown before the answer"
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer: what a reader said of an image, when, and whether the model's guess was in sight before."""

    image_id: str
    reader: str
    kind: Kind = "label"
    dx: str = ""
    at: str = ""
    guess_shown: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; it is one of {', '.join(KINDS)}")
        if (self.kind == "label") != bool(self.dx):
            raise ValueError(f"an answer of kind {self.kind} has class {self.dx!r}; only labels have one")
        if not self.image_id or not self.reader:
            raise ValueError("an answer needs an image_id and a reader")

    @property
    def simulated(self) -> bool:
        """Whether no person gave it."""
        return self.reader == ORACLE


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What the answers say of each image.

    Attributes:
        labels: the class of each image on which all who gave one agree.
        conflicts: what each reader said of the images on which they do not agree; these do not train.
        unsure: images of which all who answered could not tell.
        simulated: images whose label nobody but the oracle gave.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    conflicts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unsure: frozenset[str] = frozenset()
    simulated: frozenset[str] = frozenset()

    @property
    def answered(self) -> frozenset[str]:
        """Images that have an answer of some kind; they are not asked about again."""
        return frozenset(self.labels) | frozenset(self.conflicts) | self.unsure


def now() -> str:
    """Return the time as answers hold it: UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read(run: Path) -> tuple[Answer, ...]:
    """Read all answers of a run folder, none where there is no file (DataError: damaged, or an answer is none)."""
    if not SCHEMA.present(run):
        return ()
    frame = SCHEMA.read(run)
    try:
        return tuple(Answer(**{str(k): v for k, v in row.items()}) for row in frame.to_dict("records"))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{SCHEMA.path(run)}: holds an answer that is none ({error}); {SCHEMA.remedy}"
        ) from None


def append(run: Path, answers: Sequence[Answer]) -> None:
    """Add answers, on the disk before this returns; an answer without a time gets this one.

    Several processes may write at a time. A kill at any moment leaves the file as it was or with all of ``answers``.

    Raises:
        DataError: the file is damaged (it is left as it is), or another process holds the lock for too long.
    """
    if answers:
        append_after(run, lambda _given: answers)


def append_after(run: Path, following: Callable[[tuple[Answer, ...]], Sequence[Answer]]) -> None:
    """Add what ``following`` returns on the answers given so far; nobody else adds one in between.

    What depends on earlier answers (is this a second one of the reader? was the guess in sight?) is decided in it. Where it
    raises, or returns nothing, the file stays as it is.

    Raises:
        DataError: as ``append``.
    """
    with only_writer(run / LOCK, "labels"):
        given = read(run)
        added = following(given)
        if not added:
            return
        time = now()
        rows = [asdict(a) | {"at": a.at or time} for a in (*given, *added)]
        frame = pd.DataFrame(rows, columns=[column.name for column in SCHEMA.columns])
        with synced_file(SCHEMA.path(run)) as partial:
            frame.to_parquet(partial, index=False)


def standing(answers: Sequence[Answer]) -> dict[str, dict[str, Answer]]:
    """Return {image: {reader: last answer}}, without answers that were taken back."""
    found: dict[str, dict[str, Answer]] = {}
    for answer in answers:
        of_image = found.setdefault(answer.image_id, {})
        if answer.kind == "withdrawn":
            of_image.pop(answer.reader, None)
        else:
            of_image[answer.reader] = answer
    return {image: readers for image, readers in found.items() if readers}


def settle(answers: Sequence[Answer]) -> Settled:
    """Return what counts: a class where all who gave one agree; readers who could not tell have no vote."""
    labels: dict[str, str] = {}
    conflicts: dict[str, dict[str, str]] = {}
    unsure, simulated = set(), set()
    for image, readers in standing(answers).items():
        said = {reader: answer.dx for reader, answer in readers.items() if answer.kind == "label"}
        if not said:
            unsure.add(image)
        elif len(set(said.values())) > 1:
            conflicts[image] = said
        else:
            labels[image] = next(iter(said.values()))
            if set(said) == {ORACLE}:
                simulated.add(image)
    return Settled(
        labels=labels, conflicts=conflicts, unsure=frozenset(unsure), simulated=frozenset(simulated)
    )
