"""Prints where the labelling of a run stands: counts, readers, conflicts, agreement, the model's guess."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.labelling.agreement import Agreement
from engine.labelling.guess import WithModel
from engine.labelling.oracle import MARK
from engine.labelling.state import LabellingState
from engine.report.wording import number_interval, percent, percent_interval


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
            f"nobody has answered yet: hardcase label {shlex.quote(str(run))} ANSWERS.csv", highlight=False
        )
        return
    console.print(_readers(state))
    if settled.conflicts:
        console.print(_conflicts(state))
        console.print(
            "Nobody's answer wins: a conflict ends when readers change theirs (a file with the new class) or withdraw it "
            f"(hardcase label {shlex.quote(str(run))} --withdraw IMAGE --reader NAME).",
            highlight=False,
        )  # fmt: skip
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
        caption="kappa: agreement beyond chance; 1 is all, 0 is chance",
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
    if found.shown + found.unseen == 0:
        return
    lines = [
        f"{n} answers {how}: {agree} are the model's class ({percent(agree / n)})"
        for n, agree, how in (
            (found.shown, found.shown_agree, "with the model's guess shown before"),
            (found.unseen, found.unseen_agree, "without it"),
        )
        if n
    ]
    for line in lines:
        console.print(line)
    if found.difference["value"] is not None:
        low, high = (found.difference["low"] or 0.0), (found.difference["high"] or 0.0)
        verdict = (
            "more often"
            if low > 0
            else "less often"
            if high < 0
            else "no more and no less often, as far as this shows"
        )
        console.print(
            f"with the guess shown, readers agree with the model {verdict}: difference "
            f"{percent_interval(found.difference)}; who saw it was not drawn, so this proves no cause"
        )
