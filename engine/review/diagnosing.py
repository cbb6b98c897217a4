"""The work list of unlabelled images: every question of the run, in its order, until this reader has answered it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.artifacts import asked, labels
from engine.artifacts.labels import Answer
from engine.review.pace import seconds_left
from engine.review.photographs import Photographs
from engine.review.work import Item, Last, OutdatedError, Task, guesses
from engine.store import RunFolder

UNSURE = "unsure"
"""Choice of a reader who cannot tell; a class is chosen as ``label:<dx>``."""
LABEL = "label:"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One image that is asked about, with the classifier's view of it."""

    image_id: str
    prob: Mapping[str, float]
    neighbours: tuple[str, ...]


class Diagnosing:
    """Questions and one reader's answers; several readers answer all of them, each without seeing the others'."""

    def __init__(self, run: RunFolder, photographs: Photographs, *, show_guess: bool) -> None:
        self.run = run
        self.photographs = photographs
        self.show_guess = show_guess
        self.questions: dict[str, Question] = {}
        self._read: tuple[tuple[int, ...], tuple[Answer, ...]] = ((), ())
        self.refresh()

    def refresh(self) -> None:
        """Read the questions, those of rounds first; an image asked about twice is one question (DataError: damaged)."""
        self.photographs.refresh()
        found: dict[str, Question] = {}
        for folder in self.run.layout.questions():
            table, classes = asked.read(folder), asked.read_facts(folder).classes
            for row, image_id in enumerate(table.image_id.tolist()):
                if image_id not in self.photographs:
                    continue
                question = Question(
                    image_id=image_id,
                    prob={
                        dx: p
                        for dx, p in zip(classes, table.prob_QC[row].tolist(), strict=False)
                        if not math.isnan(p)
                    },
                    neighbours=tuple(name for name in table.neighbour_ids_QK[row].tolist() if name),
                )
                found.setdefault(self.photographs.key(image_id), question)
        self.questions = found

    def task(self, reader: str) -> Task:
        """Return the first question without an answer of this reader, and this reader's last answer."""
        given, standing = _of_reader(self._all(), reader)
        left = [key for key, question in self.questions.items() if question.image_id not in standing]
        times = [answer.at for answer in given if answer.kind != "withdrawn"]
        return Task(
            item=self._item(left[0]) if left else None,
            last=self._last(standing),
            done=len(self.questions) - len(left),
            total=len(self.questions),
            seconds_left=seconds_left(times, len(left)),
        )

    def answer(self, reader: str, key: str, choice: str) -> None:
        """Append the answer to labels.parquet, on the disk before this returns.

        Raises:
            OutdatedError: no such question or class, or this reader has answered it in another window.
            DataError: labels.parquet is damaged or held by another process.
        """
        question = self.questions.get(key)
        dx = choice.removeprefix(LABEL) if choice.startswith(LABEL) else ""

        def first_answer(everybodys: Sequence[Answer]) -> list[Answer]:
            given, standing = _of_reader(everybodys, reader)
            if question is None or question.image_id in standing:
                raise OutdatedError(
                    "this image is answered already, perhaps in another window; here is the next one"
                )
            if choice != UNSURE and dx not in self.photographs.names:
                raise OutdatedError(f"{choice!r} is no class of this run; load the page again")
            seen_before = any(answer.image_id == question.image_id for answer in given)
            answer = Answer(
                image_id=question.image_id,
                reader=reader,
                kind="label" if dx else "unsure",
                dx=dx,
                guess_shown=self.show_guess or seen_before,  # the page shows the guess after the first answer
            )
            return [answer]

        labels.append_after(self.run.path, first_answer)

    def undo(self, reader: str, key: str) -> None:
        """Append that the reader takes the last answer back (OutdatedError: ``key`` is not its image)."""
        question = self.questions.get(key)

        def withdrawal(everybodys: Sequence[Answer]) -> list[Answer]:
            _, standing = _of_reader(everybodys, reader)
            last = self._last(standing)
            if question is None or last is None or last.key != key:
                raise OutdatedError(
                    "your last answer is another one, perhaps from another window; look at it first"
                )
            shown = standing[question.image_id].guess_shown
            return [Answer(image_id=question.image_id, reader=reader, kind="withdrawn", guess_shown=shown)]

        labels.append_after(self.run.path, withdrawal)

    def _item(self, key: str) -> Item:
        question = self.questions[key]
        return Item(
            key=key,
            facts=self.photographs.facts(question.image_id),
            beside=self.photographs.beside(question.neighbours),
            guess=guesses(question.prob, self.photographs.names) if self.show_guess else (),
        )

    def _last(self, standing: Mapping[str, Answer]) -> Last | None:
        """Return the latest answer that stands on a question; ``standing`` is in the order of the answers."""
        by_image = {question.image_id: key for key, question in self.questions.items()}
        mine = [answer for answer in standing.values() if answer.image_id in by_image]
        if not mine:
            return None
        key, names = by_image[mine[-1].image_id], self.photographs.names
        dx = mine[-1].dx
        said = "cannot tell" if not dx else names[dx].short if dx in names else dx
        return Last(key=key, said=said, guess=guesses(self.questions[key].prob, names))

    def _all(self) -> tuple[Answer, ...]:
        """Return labels.parquet's answers; other processes write it too, so it is read again when it has changed."""
        path = self.run.layout.labels
        if not path.exists():
            return ()
        stat = path.stat()
        version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._read[0] != version:
            self._read = (version, labels.read(self.run.path))
        return self._read[1]


def _of_reader(everybodys: Sequence[Answer], reader: str) -> tuple[list[Answer], dict[str, Answer]]:
    """Return all lines of a reader, and {image: the one that stands}, the latest last."""
    given = [answer for answer in everybodys if answer.reader == reader]
    standing: dict[str, Answer] = {}
    for answer in given:
        standing.pop(answer.image_id, None)
        if answer.kind != "withdrawn":
            standing[answer.image_id] = answer
    return given, standing
