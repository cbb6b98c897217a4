"""Takes a file of answers into ``labels.parquet``: all of it or, where anything in it is wrong, nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.artifacts import labels
from engine.artifacts.labels import ORACLE, Answer
from engine.errors import DataError
from engine.labelling.answer_table import Row, read_table
from engine.labelling.classes import meaning
from engine.labelling.label_studio import read_label_studio
from engine.labelling.run_images import RunImages


@dataclass(frozen=True, kw_only=True)
class Change:
    """An answer that replaces an earlier one of the same reader, which stays in the file."""

    before: Answer
    now: Answer


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a file brought: answers that were added, those of them that change earlier ones, and what was left out.

    ``repeated`` counts answers that stood already, ``empty`` rows without one.
    """

    added: tuple[Answer, ...]
    changes: tuple[Change, ...]
    repeated: int
    empty: int


def take(run: Path, path: Path, *, reader: str = "", guess_shown: bool = False) -> Taken:
    """Add the answers of a CSV, a TSV or Label Studio's JSON to a run; those that stand already are not added again.

    Args:
        run: the run folder; another process may be writing it.
        path: the file.
        reader: whose the answers are that name nobody.
        guess_shown: whether the model's guess was in sight before them. Who has seen it once has seen it.

    Raises:
        DataError: anything in the file is wrong; names the line, and nothing was added.
    """
    images = RunImages.of(run)
    is_json = path.suffix.lower() == ".json"
    rows = read_label_studio(path, reader) if is_json else read_table(path)
    found, empty = answers_of(rows, path, images, reader=reader, guess_shown=guess_shown)
    return add(run, found, empty=empty, given=len(rows) - empty)


def add(run: Path, answers: Sequence[Answer], *, empty: int = 0, given: int | None = None) -> Taken:
    """Add those of the answers that differ from what their readers' answers are (DataError: labels.parquet is damaged)."""
    added: list[Answer] = []
    changes: list[Change] = []

    def differing(given: Sequence[Answer]) -> list[Answer]:
        standing = labels.standing(given)
        for answer in answers:
            before = standing.get(answer.image_id, {}).get(answer.reader)
            shown = answer.guess_shown or (before is not None and before.guess_shown)
            now = replace(answer, guess_shown=shown)
            if before is None and now.kind == "withdrawn":
                continue
            if before is None or replace(before, at="") != now:
                added.append(now)
                changes.extend([] if before is None else [Change(before=before, now=now)])
        return added

    labels.append_after(run, differing)
    total = len(answers) if given is None else given
    return Taken(added=tuple(added), changes=tuple(changes), repeated=total - len(added), empty=empty)


def answers_of(
    rows: Sequence[Row], path: Path, images: RunImages, *, reader: str = "", guess_shown: bool = False
) -> tuple[list[Answer], int]:
    """Return the answers that rows give, each once, in their order, and how many rows give none.

    Raises:
        DataError: the first row that is wrong: an unknown image, one that has a label, no class of the run, nobody's or the
            oracle's answer, or a reader's second answer to an image that differs from the first.
    """
    found: dict[tuple[str, str], tuple[Answer, Row]] = {}
    empty = 0
    for row in rows:
        if not row.dx:
            empty += 1
            continue
        where = f"{path}, {row.where}"
        said = meaning(row.dx, images.classes)
        if said is None:
            raise DataError(
                f"{where}: dx {row.dx!r} is no class of the run; write {', '.join(images.classes)}, unsure, withdraw, or "
                "nothing"
            )
        answer = Answer(
            image_id=images.find(row.image, where),
            reader=reader_name(row.reader or reader, where),
            kind=said.kind,
            dx=said.dx,
            guess_shown=guess_shown,
        )
        first, its_row = found.setdefault((answer.image_id, answer.reader), (answer, row))
        if first != answer:
            raise DataError(
                f"{where}: {answer.reader} answers {answer.image_id} a second time, with {row.dx!r} after {its_row.dx!r} in "
                f"{its_row.where}; keep one"
            )
    return [answer for answer, _ in found.values()], empty


def reader_name(name: str, where: str) -> str:
    """Return a reader's name with single spaces (DataError: there is none, or it is the oracle's)."""
    plain = " ".join(name.split())
    if not plain:
        raise DataError(f"{where}: nobody is named as reader; fill column reader, or give --reader NAME")
    if plain.casefold() == ORACLE:
        raise DataError(
            f"{where}: reader {name!r} is what uncovered labels are kept under; give the name of who answered"
        )
    return plain
