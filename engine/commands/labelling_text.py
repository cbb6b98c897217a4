"""Prints where the labelling of a run stands: counts, readers, conflicts, agreement, the model's guess."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.evaluation.intervals import DIFFERENCE, no_interval
from engine.labelling.agreement import Agreement
from engine.labelling.guess import WithModel
from engine.labelling.oracle import MARK
from engine.labelling.state import LabellingState
from engine.report.wording import number_interval, percent


def show_state(state: LabellingState, run: Path, console: Console) -> None:
    """Print all of a state, SIMULATED LABELS on top where the oracle answered."""
    if state.simulated:
        console.print(f"{MARK}: the oracle uncovered hidden labels; no person gave them", style="yellow")
    console.print(f"questions  {state.asked} asked, {state.asked - state.open} answered, {state.open} open")
    settled = state.settled
    simulated = f", {len(settled.simulated)} of them by the oracle alone" if settled.simulated else ""
    console.print(
        f"images     {len(settled.labels)} labelled{simulated}, {len(settled.conflicts)} in conflict, "
        f"{len(settled.unsure)} unsure"
    )
    if state.unasked:
        console.print(f"           {state.unasked} of them were not asked about")
    if not state.readers:
        console.print(
            f"nobody has answered yet: hardcase label {shlex.quote(str(run))} ANSWERS.csv",
            highlight=False,
            soft_wrap=True,
        )
        return
    console.print(_readers(state))
    if settled.conflicts:
        console.print(_conflicts(state))
        console.print(
            "Nobody's answer wins. A conflict ends when readers change their answers, with a file, or withdraw them:"
        )
        console.print(
            f"  hardcase label {shlex.quote(str(run))} --withdraw IMAGE --reader NAME",
            highlight=False,
            soft_wrap=True,
        )
    if state.pairs:
        console.print(_agreement(state))
    _show_guess(state.with_model, console)


def _readers(state: LabellingState) -> Table:
    table = Table(title="answers that stand, per reader")
    table.add_column("reader")
    for heading in ("labels", "unsure", "changed", "withdrawn"):
        table.add_column(heading, justify="right")
    for count in state.readers:
        numbers = (count.labels, count.unsure, count.changed, count.withdrawn)
        table.add_row(count.reader, *map(str, numbers))
    return table


def _conflicts(state: LabellingState) -> Table:
    table = Table(title="conflicts: these images train nothing")
    table.add_column("image")
    table.add_column("readers")
    for image, said in sorted(state.settled.conflicts.items()):
        table.add_row(image, ", ".join(f"{reader}: {dx}" for reader, dx in sorted(said.items())))
    return table


def _agreement(state: LabellingState) -> Table:
    table = Table(
        title="agreement of readers, 95 % intervals",
        caption="kappa: agreement beyond chance, 1 at most; without unsure answers",
    )
    table.add_column("readers")
    for heading in ("images", "agree", "kappa"):
        table.add_column(heading, justify="right")
    for pair in state.pairs:
        table.add_row(f"{' and '.join(pair.readers)} (Cohen)", *_cells(pair))
    if state.several is not None:
        together = f"all {len(state.several.readers)}" if len(state.several.readers) > 2 else "both"
        table.add_row(f"{together} (Fleiss)", *_cells(state.several))
    return table


def _cells(found: Agreement) -> tuple[str, str, str]:
    return str(found.images), percent(found.share), number_interval(found.kappa)


def _show_guess(found: WithModel, console: Console) -> None:
    """Print how often answers are the model's, with its guess in sight and without."""
    for n, agree, how in (
        (found.shown, found.shown_agree, "with the model's guess shown before"),
        (found.unseen, found.unseen_agree, "without the model's guess shown"),
    ):
        if n:
            share = percent(agree / n)
            text = f"{counted(n, 'answer')} {how}: {agree} name the model's class ({share})"
            console.print(text, soft_wrap=True)
    difference, low, high = (found.difference[key] for key in ("value", "low", "high"))
    if difference is None or low is None or high is None:
        return
    seen = "not shown to change" if low <= 0.0 <= high else "higher" if low > 0.0 else "lower"
    said = no_interval(difference, low, high, scale=DIFFERENCE) or f"{100 * low:+.1f} to {100 * high:+.1f}"
    points = f"{100 * difference:+.1f} points ({said})"
    console.print(
        f"agreement with the model is {seen} once its guess was shown: {points}; nobody drew who saw it, so a difference "
        "proves no cause",
        soft_wrap=True,
    )  # fmt: skip


def counted(n: int, noun: str) -> str:
    """Return ``1 answer`` or ``2 answers``."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
