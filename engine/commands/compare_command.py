"""`hardcase compare`: runs side by side, and where they share a split the paired difference between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.artifacts.champion import Champion
from engine.artifacts.report_json import LEAKY, RoundEntry, RunReport
from engine.commands.finished_run import Chosen, choose, read_report
from engine.commands.paired_differences import paired_differences
from engine.config import read_tree
from engine.errors import ConfigError, DataError
from engine.evaluation.figures import FIGURES, figure_words, is_share
from engine.evaluation.intervals import DIFFERENCE, lesions_behind, no_interval
from engine.evaluation.statistics import Interval
from engine.labelling.simulated import in_entry
from engine.report.wording import PROTOCOLS, SIMULATED, SIMULATED_TITLE, figure_text
from engine.study.pools import OWN, pool_text
from engine.study.run_replicates import endpoints_of, further_seeds

SHOWN = (
    "balanced_accuracy",
    "accuracy",
    "auc",
    "malignant.sensitivity",
    "malignant.specificity",
    "malignant.mean_sensitivity",
    "malignant.auc",
    "log_loss",
)
"""Figures of the tables; those that a run was planned on, or that ``--figure`` names, come first."""
POST_HOC = "exploratory: named after the figures were there, so no claim can rest on it"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run in the comparison: which classifier of it, its object of report.json, and the split it stands on.

    ``primary`` are the figures that the run was planned on; ``pool`` says what the classifier trained on, "" where that is
    not known; ``simulated`` whether its labels came from an oracle.
    """

    label: str
    chosen: Chosen
    entry: RoundEntry
    split_digest: str
    protocol: str
    primary: tuple[str, ...]
    pool: str
    simulated: bool


def compare(
    runs: Sequence[Path],
    console: Console,
    *,
    round_number: int | None = None,
    arm: str | None = None,
    figure: str | None = None,
) -> None:
    """Print the test figures of each run's champion (or of ``--round``/``--arm``) and how they differ.

    Args:
        runs: run folders.
        console: where to print.
        round_number: another round than the champion's.
        arm: another arm.
        figure: shown first in place of the figures that the first run was planned on, and marked as exploratory.

    Raises:
        ConfigError: no figure of that name.
        DataError: fewer than two runs, no run folder, a broken file in one, or a run without that round and arm.
    """
    if len(runs) < 2:
        raise DataError("compare: give two run folders or more")
    if figure is not None and figure not in FIGURES:
        raise ConfigError(f"--figure: no figure is called {figure!r}; known: {', '.join(FIGURES)}")
    compared = [open_compared(path, round_number, arm) for path in runs]
    first, *others = compared
    rows = figure_rows(first.primary, figure)
    side_by_side = _side_by_side(compared, rows)
    beside = [_beside(first, other, rows) for other in others]
    console.print(side_by_side)
    for one in compared:
        if one.protocol != "safe":
            title, _ = PROTOCOLS.get(one.protocol, (f"protocol {one.protocol}", ""))
            console.print(f"{one.label}: {title}; its figures are not those of new lesions", style="red")
        if one.simulated:
            console.print(f"{one.label}: {SIMULATED_TITLE}", style="red")
    for found in beside:
        console.print(found)
    if figure is not None:
        console.print(f"{figure_words(figure)} is {POST_HOC}", style="yellow")


def figure_rows(primary: Sequence[str], figure: str | None) -> dict[str, str]:
    """Return {figure: its words} in the tables' order, the planned ones (or ``figure``) first and marked."""
    marks = {name: "primary" if place == 0 else "co-primary" for place, name in enumerate(primary)}
    if figure is not None:
        marks = {figure: "exploratory"}
    names = dict.fromkeys([*marks, *SHOWN])
    return {
        name: figure_words(name) + (f" ({marks[name]})" if name in marks else "") for name in names
    }  # fmt: skip


def _beside(first: Compared, other: Compared, rows: Mapping[str, str]) -> Table | Text:
    """The paired differences, or why there are none."""
    if other.split_digest != first.split_digest:
        return Text(
            f"{first.label} and {other.label} stand on different splits ({first.split_digest[:8]}, "
            f"{other.split_digest[:8]}): other test lesions, so their figures cannot be compared",
            style="yellow",
        )
    if first.pool and first.pool == other.pool and not _trained_otherwise(first, other):
        return Text(
            f"{first.label} and {other.label} trained on the same images in the same way: nothing was tested, and no "
            "difference is shown",
            style="yellow",
        )
    return _differences(first, other, rows)


def _trained_otherwise(first: Compared, other: Compared) -> bool:
    """Whether the classifiers themselves differ in a setting, so that equal pools still test something."""
    ours, theirs = (one.chosen.run.config.classifier for one in (first, other))
    return ours != theirs


def open_compared(path: Path, round_number: int | None, arm: str | None) -> Compared:
    """Return one run of a comparison.

    Raises:
        DataError: no run folder, a broken file in it, or no such round and arm.
    """
    report = read_report(path)
    chosen = _choose(path, round_number, arm)
    entry = report.entry(chosen.round, chosen.arm)
    if entry is None:
        raise DataError(f"{path}: report.json has no {chosen.name}; rerun `hardcase run` to complete it")
    absent = [key for key in ("split_digest", "protocol") if key not in report.model_fields_set]
    if absent:
        raise DataError(
            f"{RunReport.path(path)}: lacks {', '.join(absent)}; rerun `hardcase run` to write it again"
        )
    simulated = in_entry(path, entry)
    mark = (", LEAKY" if report.protocol in LEAKY else "") + (f", {SIMULATED}" if simulated else "")
    return Compared(
        label=f"{path.resolve().name} ({chosen.name}{mark})",
        chosen=chosen,
        entry=entry,
        split_digest=report.split_digest,
        protocol=report.protocol,
        primary=endpoints_of(read_tree(chosen.run.layout.config)).primary,
        pool=_pool(entry, report, chosen),
        simulated=simulated,
    )


def _pool(entry: RoundEntry, report: RunReport, chosen: Chosen) -> str:
    """What the classifier trained on; own images alone are the same in runs of one split and the same training sets."""
    text = pool_text(entry, report)
    sets = chosen.run.config.data.split.train_sets
    return f"{text} {sets and sets.use}" if text == OWN else text


def _choose(path: Path, round_number: int | None, arm: str | None) -> Chosen:
    """The champion; a run without one (mined from test, or unfinished) is compared by its last round of hard."""
    if round_number is None and arm is None and not Champion.present(path):
        return choose(path, None, "hard")
    return choose(path, round_number, arm)


def _side_by_side(compared: Sequence[Compared], rows: Mapping[str, str]) -> Table:
    table = Table(title="test figures", caption="95 % intervals by lesion")
    table.add_column("figure")
    for one in compared:
        table.add_column(one.label, justify="right")
    for name, label in rows.items():
        table.add_row(label, *[figure_text(one.entry.test, name) for one in compared])
    classes = dict.fromkeys(dx for one in compared for dx in one.entry.test["per_class"])
    for dx in classes:
        cells = [figure_text(one.entry.test, f"per_class.{dx}.sensitivity") for one in compared]
        table.add_row(f"sensitivity {dx}", *cells)
    for label, name in (("real images", "n_real"), ("accepted synthetic", "n_accepted"),
                        ("optimizer steps", "optimizer_steps")):  # fmt: skip
        table.add_row(label, *[str(getattr(one.entry, name)) for one in compared])
    return table


def _differences(first: Compared, other: Compared, rows: Mapping[str, str]) -> Table:
    config = first.chosen.run.config
    found = paired_differences(
        first.chosen, other.chosen, draws=config.evaluation.bootstrap, seed=config.loop.seed
    )
    lesions = next(iter(found.values()))[1]
    seeds = [1 + len(further_seeds(one.chosen.folder)) for one in (other, first)]
    means = f"; means over {seeds[0]} and {seeds[1]} classifier seeds" if max(seeds) > 1 else ""
    table = Table(
        title=f"{other.label} minus {first.label}",
        caption=f"paired bootstrap over the same {lesions} test lesions, 95 % intervals; shares in percentage points{means}",
    )
    table.add_column("figure")
    table.add_column("difference", justify="right")
    for name, label in rows.items():
        behind = lesions_behind(first.entry.test, name)
        table.add_row(label, points(found[name][0], name, lesions if behind is None else behind))
    return table


def points(difference: Interval, figure: str = "accuracy", lesions: int | None = None) -> Text:
    """Return ``+1.2 (-0.4 to +2.8)`` (points of a share, else a number) or a dash; bold where the interval excludes 0.

    ``lesions``: how many the figure rests on, told where the interval says nothing.
    """
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None or low is None or high is None:
        return Text("–")
    said = no_interval(value, low, high, lesions, DIFFERENCE)
    if is_share(figure):
        text = f"{100 * value:+.1f} ({said or f'{100 * low:+.1f} to {100 * high:+.1f}'})"
    else:
        text = f"{value:+.3f} ({said or f'{low:+.3f} to {high:+.3f}'})"
    return Text(text, style="bold" if not said and (low > 0 or high < 0) else "")
