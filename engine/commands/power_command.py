"""`hardcase power`: what finished runs could have shown, and how large a study must be to show a given difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.commands.output_folder import writable_file
from engine.commands.report_command import open_study
from engine.errors import ConfigError, DataError
from engine.evaluation.figures import FIGURES, figure_words, is_share
from engine.study.comparison import too_few_replicates
from engine.study.power import MOST, POWER
from engine.study.power_study import MULTIPLES, PowerRow, PowerStudy, as_planned_on, power_study


def power(
    runs: Sequence[Path],
    console: Console,
    *,
    effect: float = 0.02,
    figure: str | None = None,
    json_path: Path | None = None,
) -> dict[str, Any]:
    """Print components of chance, the smallest effect shown, and plans for ``effect``; return them as plain JSON.

    Args:
        runs: finished run folders of one study.
        console: where to print.
        effect: size of a true difference, in the figure's units.
        figure: one figure; None: those that the study was planned on.
        json_path: file to write the returned object into.

    Raises:
        ConfigError: an effect that is not above 0, no figure of that name, or runs of different configs.
        DataError: fewer than two training sets, an unfinished run, or runs that make no study.
    """
    if not (math.isfinite(effect) and effect > 0):
        raise ConfigError(
            f"--effect: must be above 0, got {effect:g}; give the size of the difference to be shown"
        )
    if figure is not None and figure not in FIGURES:
        raise ConfigError(f"--figure: no figure is called {figure!r}; known: {', '.join(FIGURES)}")
    if len(runs) < 2:
        raise DataError(
            "power: give two finished run folders or more, of one study with two training sets or more"
        )
    if json_path is not None:
        writable_file(json_path, "--json")
    _, replicates, draws = open_study(runs)
    found = power_study(
        replicates if figure is None else as_planned_on(replicates, figure), draws=draws, effect=effect
    )
    result = found.to_json()
    if json_path is not None:
        from engine.store import write_json

        write_json(json_path, result)
    show(found, console)
    return result


def show(found: PowerStudy, console: Console) -> None:
    """Print, per endpoint, where chance comes from and what the effect needs."""
    plan, unit = found.finished, found.design.unit
    seeds = f"{plan.seeds} classifier seed{'' if plan.seeds == 1 else 's'}"
    console.print(
        f"{plan.training_sets} training sets ({plan.replicates} {unit}s), {seeds} each, about {plan.lesions:.0f} test "
        f"lesions{'' if plan.shared else ' per fold'}; {POWER:.0%} power, {found.family} confirmatory contrasts in all"
    )
    for arm in found.untested:
        console.print(f"hard and {arm} trained on the same images: nothing was tested", style="yellow")
    if few := too_few_replicates(plan.replicates, unit):
        console.print(f"{few}: these runs could have shown nothing", style="yellow")
    for figure in dict.fromkeys(row.figure for row in found.rows):
        rows = [row for row in found.rows if row.figure == figure]
        console.print(_components(figure, rows, found))
        console.print(_plans(figure, rows, found))
    if all(row.components.seeds is None for row in found.rows):
        console.print(
            "one seed per training set: what seeds add is counted with training sets; loop.seeds tells them apart",
            style="dim",
        )


def _components(figure: str, rows: Sequence[PowerRow], found: PowerStudy) -> Table:
    table = Table(
        title=f"{figure_words(figure)}: hard minus ...",
        caption=f"standard deviations of one difference; {_unit(figure)}",
    )
    table.add_column("baseline")
    for name in ("difference", "training sets", "seeds", "test lesions", "could have shown", "power"):
        table.add_column(
            f"power at {_amount(found.effect, figure)}" if name == "power" else name, justify="right"
        )
    for row in rows:
        parts = row.components
        table.add_row(
            row.baseline,
            f"{_scale(figure) * parts.difference:+.{_digits(figure)}f}",
            *[
                "–" if variance is None else _amount(math.sqrt(variance), figure)
                for variance in (parts.training_sets, parts.seeds, parts.lesions)
            ],
            "none" if row.detectable is None else _amount(row.detectable, figure),
            f"{100 * row.power:.0f} %",
        )
    return table


def _plans(figure: str, rows: Sequence[PowerRow], found: PowerStudy) -> Table:
    table = Table(
        title=f"training sets that show {_amount(found.effect, figure)} ({_unit(figure)}) at {POWER:.0%} power",
        caption=_unreached(found),
    )
    for name in ("baseline", "seeds"):
        table.add_column(name)
    for multiple in MULTIPLES:
        table.add_column(f"{multiple * found.finished.lesions:.0f} test lesions", justify="right")
    for row in rows:
        for seeds in dict.fromkeys(plan.seeds for plan in row.plans):
            counts = [plan.training_sets for plan in row.plans if plan.seeds == seeds]
            table.add_row(row.baseline, str(seeds), *["–" if c is None else str(c) for c in counts])
    return table


def _unreached(found: PowerStudy) -> str:
    """What a dash in the table of plans means."""
    plan = found.finished
    few = "" if plan.shared else too_few_replicates(plan.replicates, found.design.unit)
    return f"–: {few}" if few else f"–: more than {MOST}"


def _scale(figure: str) -> float:
    return 100.0 if is_share(figure) else 1.0


def _digits(figure: str) -> int:
    return 1 if is_share(figure) else 4


def _unit(figure: str) -> str:
    return "percentage points" if is_share(figure) else "the figure's own units"


def _amount(value: float, figure: str) -> str:
    return f"{_scale(figure) * value:.{_digits(figure)}f}"
