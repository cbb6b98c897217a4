"""`hardcase label`: takes readers' answers into a run, withdraws one, uncovers hidden labels, or shows where it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.artifacts import labels
from engine.artifacts.labels import Answer
from engine.artifacts.run_layout import RunLayout, foundation_role
from engine.commands.labelling_text import counted, show_state
from engine.errors import ConfigError, DataError
from engine.labelling.intake import Taken, add, reader_name, take
from engine.labelling.oracle import MARK, answer_open
from engine.labelling.questions import open_images
from engine.labelling.run_images import RunImages
from engine.labelling.state import labelling_state


def label(
    run: Path,
    console: Console,
    *,
    answers: Path | None = None,
    reader: str | None = None,
    guess_shown: bool = False,
    withdraw: str | None = None,
    oracle: bool = False,
    count: int | None = None,
) -> None:
    """Do the one thing that the options ask for, and print what it brought; without any, print the state.

    Args:
        run: the run folder; a run that goes on at the moment may be labelled.
        console: where to print.
        answers: a file of answers to add.
        reader: who gave the answers of it that name nobody; who withdraws.
        guess_shown: whether the model's guess was in sight before them.
        withdraw: an image of which ``reader`` takes the answer back.
        oracle: uncover hidden labels of open questions.
        count: at most so many of them.

    Raises:
        ConfigError: options that do not go together, or ``oracle`` in a run that hides no labels.
        DataError: no run folder, anything wrong in the file (nothing of it is added), or no answer to withdraw.
    """
    _check(answers, reader, guess_shown, withdraw, oracle, count)
    if answers is not None:
        _say_taken(take(run, answers, reader=reader or "", guess_shown=guess_shown), console)
    elif withdraw is not None:
        _withdraw(run, withdraw, reader or "", console)
    elif oracle:
        _uncover(run, count, console)
    else:
        show_state(labelling_state(run), run, console)
        return
    _say_next(run, console)


def _check(
    answers: Path | None,
    reader: str | None,
    guess_shown: bool,
    withdraw: str | None,
    oracle: bool,
    count: int | None,
) -> None:
    """Refuse options that do not go together, and a reader's name that is none."""
    ways = {"ANSWERS": answers is not None, "--withdraw": withdraw is not None, "--oracle": oracle}
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) > 1:
        raise ConfigError(f"{given[1]}: does not go with {given[0]}; give one of {', '.join(ways)}")
    if count is not None and not oracle:
        raise ConfigError(
            "--count: says how many hidden labels --oracle uncovers; give --oracle, or leave it out"
        )
    if guess_shown and answers is None:
        raise ConfigError(
            "--guess-shown: says how the answers of a file were given; give the file, or leave it out"
        )
    if reader is not None and given not in (["ANSWERS"], ["--withdraw"]):
        raise ConfigError(
            "--reader: says who gave the answers of a file, or who withdraws; give one of those, or leave it out"
        )
    if withdraw is not None and reader is None:
        raise ConfigError(
            "--reader: nobody is named; --withdraw takes back one reader's answer: give --reader NAME"
        )
    if reader is not None:
        reader_name(reader, "--reader")


def _say_taken(taken: Taken, console: Console) -> None:
    if not taken.added:
        console.print(
            "nothing new: every answer of the file stands already"
            if taken.repeated
            else "the file has no answers"
        )
    else:
        fresh = len(taken.added) - len(taken.changes)
        console.print(
            f"{counted(len(taken.added), 'answer')} added: {fresh} new, {len(taken.changes)} changed"
        )
    if taken.added and taken.repeated:
        console.print(f"{counted(taken.repeated, 'row')} repeated what stands already")
    if taken.empty:
        console.print(f"{counted(taken.empty, 'row')} without an answer skipped")
    if taken.changes:
        table = Table(title="changed answers; the earlier ones are kept")
        for heading in ("image", "reader", "before", "now"):
            table.add_column(heading)
        for change in taken.changes:
            table.add_row(change.now.image_id, change.now.reader, _words(change.before), _words(change.now))
        console.print(table)


def _words(answer: Answer) -> str:
    seen = ", guess shown" if answer.guess_shown else ""
    return f"{answer.dx or answer.kind}{seen}"


def _withdraw(run: Path, image: str, reader: str, console: Console) -> None:
    name = RunImages.of(run).find(image, "--withdraw")
    who = reader_name(reader, "--reader")
    changes = add(run, [Answer(image_id=name, reader=who, kind="withdrawn")]).changes
    if not changes:
        of_image = labels.standing(labels.read(run)).get(name, {})
        there = f"answers are of {', '.join(sorted(of_image))}" if of_image else "nobody has answered it"
        raise DataError(f"--withdraw: {who} has no answer to {name} that could be withdrawn; {there}")
    console.print(
        f"withdrawn: {_words(changes[0].before)} of {who} on {name}; the answer is kept, and counts no more"
    )


def _uncover(run: Path, count: int | None, console: Console) -> None:
    from engine import build

    folder = build.open_run(run)
    if folder.config.data.split.hide_labels is None:
        raise ConfigError(
            f"--oracle: {run} hides no labels (data.split.hide_labels is null), so nobody knows its unlabelled images; have "
            f"readers answer: hardcase label {shlex.quote(str(run))} ANSWERS.csv"
        )
    found = answer_open(run, folder.stage(foundation_role("split")).path, count)
    console.print(
        f"{MARK}: {counted(found.answered, 'hidden label')} uncovered, {counted(found.left, 'open question')} left",
        style="yellow",
    )
    if found.unknown:
        console.print(
            f"{counted(found.unknown, 'open question')} about images whose label was never known: those are for readers"
        )


def _say_next(run: Path, console: Console) -> None:
    """Print what to do now: conflicts first, then open questions, then the run."""
    settled = labels.settle(labels.read(run))
    left = len(open_images(run))
    console.print(
        f"{counted(len(settled.labels), 'image')} labelled, {len(settled.conflicts)} in conflict, "
        f"{counted(left, 'question')} open"
    )
    again = shlex.quote(str(RunLayout(run).config))
    if settled.conflicts:
        _say_command("conflicts", f"hardcase label {shlex.quote(str(run))}", console)
    _say_command("train with them", f"hardcase run {again}", console)


def _say_command(what: str, command: str, console: Console) -> None:
    """Print a command to copy, on one line however long."""
    console.print(f"{what}: {command}", highlight=False, soft_wrap=True)
