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
    table.add_column("arm")
    for name in FIGURES:
        table.add_column(name.replace(".", " ").replace("_", " "), justify="right")
    table.add_column("accepted/generated", justify="right")
    for entry in report["rounds"]:
        table.add_row(
            str(entry["round"]),
            str(entry["arm"]),
            *(figure_text(entry["test"], name) for name in FIGURES),
            f"{entry['n_accepted']}/{entry['n_generated']}",
        )
    return table
