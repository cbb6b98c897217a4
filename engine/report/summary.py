"""The table `hardcase run` prints at the end: rounds and arms with the headline figures of the test part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.table import Table

from engine.report.wording import figure_text, marks

FIGURES: Final = ("balanced_accuracy", "malignant.sensitivity", "malignant.specificity")


def summary_table(report: Mapping[str, Any], *, simulated: bool = False) -> Table:
    """Return rounds x (arm, balanced accuracy, malignant sensitivity and specificity, accepted/generated).

    Args:
        report: report.json's object.
        simulated: whether an arm trained on labels of an oracle; the title then says SIMULATED LABELS.
    """
    warning = marks(str(report.get("protocol")), simulated=simulated)
    title = "Test figures with 95 % intervals" + (f" ({warning})" if warning else "")
    table = Table(title=title, caption="malignant includes premalignant; operating point fixed on val")
    table.add_column("round", justify="right")
    table.add_column("arm", no_wrap=True)
    for name in FIGURES:
        table.add_column(name.replace(".", " ").replace("_", " "), justify="right")
    table.add_column("accepted/generated", justify="right")
    for entry in report["rounds"]:
        table.add_row(
            str(entry["round"]),
            str(entry["arm"]),
            *(figure_text(entry["test"], name) for name in FIGURES),
            _made(entry),
        )
    return table


def _made(entry: Mapping[str, Any]) -> str:
    """Return ``4/20`` images of an arm, ``10/12 labels`` (answered of asked, so far) of one that buys labels, or both."""
    made = f"{entry['n_accepted']}/{entry['n_generated']}"
    labels = entry.get("labels")
    if labels is None:
        return made
    bought = f"{labels['answered']}/{labels['asked']} labels"
    return f"{made}, {bought}" if entry["n_generated"] else bought
