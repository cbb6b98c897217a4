"""Tables of figures in the report: rows of ready text for the template, computed from report.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from engine.arms import ENGINE, START, in_words
from engine.artifacts.report_json import figure_in
from engine.evaluation.figures import figure_words
from engine.evaluation.intervals import lesions_behind
from engine.report import charts as draw
from engine.report.wording import NOTHING, figure_text, latest, p_text, percent_interval

Entry = Mapping[str, Any]

CHART_ARMS = (START, ENGINE)
"""The arms drawn across rounds; more would hide one another, the table holds all."""


PER_CLASS: Final = ("sensitivity", "specificity", "auc")
COMPARED: Final[Mapping[str, str]] = {
    "malignant.sensitivity": "Malignant or premalignant: sensitivity",
    "malignant.specificity": "Malignant or premalignant: specificity",
    "balanced_accuracy": "Balanced accuracy",
}
"""The figures that arms are compared by side by side, with their titles."""


@dataclass(frozen=True, kw_only=True)
class ConfusionTable:
    """One confusion matrix ready to print: cells are (count, share of its row, dark background or not)."""

    title: str
    classes: tuple[str, ...]
    rows: list[tuple[str, int, list[tuple[int, float]]]]


def classes_of(rounds: Sequence[Entry]) -> list[str]:
    """Class names in the order of the reports."""
    return list(rounds[0]["test"]["per_class"]) if rounds else []


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table with one row per (round, arm); ``text`` reads its cell from report.json's object."""

    heading: str
    text: Callable[[Entry], str]


def figure_column(heading: str, name: str, part: str = "test") -> Column:
    """Return the column of a figure of report.json, by its dotted name, with its interval."""
    return Column(heading=heading, text=lambda entry: figure_text(entry[part], name))


def _added(entry: Entry) -> str:
    """Images that an arm has beside the real ones of all arms, of all rounds so far: those that its pool adds, and newly
    labelled ones; a dash where the report does not say.
    """
    added = (entry.get("pool") or {}).get("added")
    labelled = (entry.get("labels") or {}).get("answered", 0)
    return NOTHING if added is None else str(sum(added.values()) + labelled)


def _made(entry: Entry) -> str:
    """Images of this round alone; pools take no more of them than match those of hard."""
    return f"{entry['n_accepted']} / {entry['n_generated']}" if entry["n_generated"] else "none"


def _spread(entry: Entry) -> str:
    """Standard deviation over the classifier seeds, in points, with their number."""
    spread = ((entry.get("seeds") or {}).get("test") or {}).get("balanced_accuracy")
    return f"{100 * spread['sd']:.1f} points over {len(spread['values'])} seeds" if spread else "one seed"


COLUMNS: list[Column] = [
    figure_column("Balanced accuracy", "balanced_accuracy"),
    figure_column("Malignant sensitivity", "malignant.sensitivity"),
    figure_column("Malignant specificity", "malignant.specificity"),
    figure_column("Accuracy", "accuracy"),
    figure_column("AUC", "auc"),
    figure_column("ECE", "ece"),
    Column(heading="Images added", text=_added),
    Column(heading="Steps", text=lambda e: f"{e['optimizer_steps']:,}".replace(",", "\u202f")),
    Column(heading="p against round 0", text=lambda e: p_text(e["p_value_vs_round0"])),
]
"""The table of rounds and arms, on the test part; a further figure is one line here."""
FURTHER: list[Column] = [
    figure_column("Balanced accuracy, val", "balanced_accuracy", "val"),
    Column(heading="Accepted / generated", text=_made),
    Column(heading="Real training images", text=lambda e: str(e["n_real"])),
    figure_column("Malignant AUC", "malignant.auc"),
    figure_column("Log loss", "log_loss"),
    figure_column(figure_words("malignant.mean_sensitivity"), "malignant.mean_sensitivity"),
    figure_column("Melanoma sensitivity", "melanoma.sensitivity"),
    Column(heading="Spread over classifier seeds, balanced accuracy", text=_spread),
    figure_column("Melanoma specificity", "melanoma.specificity"),
    Column(
        heading="Malignant sensitivity at the split's own operating point",
        text=lambda e: percent_interval(
            figure_in(e["test"], "malignant.sensitivity_at_specificity_90"),
            lesions_behind(e["test"], "malignant.sensitivity"),
        ),
    ),
]
"""The folded table below it."""


def rounds_table(rounds: Sequence[Entry], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return one row per (round, arm), its ``cells`` in the order of ``columns``."""
    return [
        {
            "round": entry["round"],
            "arm": entry["arm"],
            "key": draw.legend_marker(entry["arm"]),
            "cells": [column.text(entry) for column in columns],
        }
        for entry in rounds
    ]


def class_charts(rounds: Sequence[Entry]) -> list[tuple[str, Markup]]:
    """One small chart per class: sensitivity and specificity across rounds, arms real and hard, test part."""
    return [
        (
            name,
            _across_rounds(name, rounds, lambda test, name=name: test["per_class"][name], draw.SMALL_PANEL),  # type: ignore[misc]
        )
        for name in classes_of(rounds)
    ]


def malignant_by_round(rounds: Sequence[Entry]) -> Markup | None:
    """Return the chart of malignant lesions across rounds; None without a malignant figure."""
    if not any(entry["test"]["malignant"]["sensitivity"]["value"] is not None for entry in rounds):
        return None
    return _across_rounds("Malignant lesions", rounds, lambda test: test["malignant"])


def _across_rounds(
    name: str,
    rounds: Sequence[Entry],
    figures: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    width: int = draw.PANEL,
) -> Markup:
    """Draw sensitivity and specificity of ``figures`` of the test part, arms real and hard."""
    panels = {
        title: [
            draw.Series(
                arm=arm,
                points=[(int(e["round"]), figures(e["test"])[key]) for e in rounds if e["arm"] == arm],
            )
            for arm in CHART_ARMS
        ]
        for title, key in (("Sensitivity, %", "sensitivity"), ("Specificity, %", "specificity"))
    }
    return draw.class_chart(name, panels, sorted({int(entry["round"]) for entry in rounds}), width=width)


def class_table(rounds: Sequence[Entry]) -> list[dict[str, Any]]:
    """One row per (class, round, arm) with the figures of the test part."""
    return [
        {
            "dx": name,
            "round": entry["round"],
            "arm": entry["arm"],
            **{figure: figure_text(entry["test"], f"per_class.{name}.{figure}") for figure in PER_CLASS},
        }
        for name in classes_of(rounds)
        for entry in rounds
    ]


def class_counts(rounds: Sequence[Entry]) -> dict[str, str]:
    """Images and lesions of each class in the test part, as text."""
    if not rounds:
        return {}
    return {
        name: f"{figures['n']} images, {figures.get('n_lesions', '?')} lesions"
        for name, figures in rounds[0]["test"]["per_class"].items()
    }


def last_of_each_arm(rounds: Sequence[Entry]) -> list[Entry]:
    """The last report of every arm, in the order in which arms first appear."""
    arms = list(dict.fromkeys(str(entry["arm"]) for entry in rounds))
    found = (latest(rounds, arm) for arm in arms)
    return [entry for entry in found if entry is not None]


def challenging_table(rounds: Sequence[Entry]) -> dict[str, Any] | None:
    """The last report of every arm on the test lesions that reference models get wrong and on the rest; None without."""
    entries = [e for e in (list(rounds[:1]) + last_of_each_arm(rounds)) if "challenging" in e["test"]]
    if not entries:
        return None
    groups = [entries[0]["test"][name] for name in ("challenging", "rest")]
    return {
        "counts": [f"{g['n_lesions']} lesions, {g['n']} images" for g in groups],
        "rows": [
            {
                "round": entry["round"],
                "arm": entry["arm"],
                "key": draw.legend_marker(entry["arm"]),
                "cells": [
                    figure_text(entry["test"][group], name)
                    for group in ("challenging", "rest")
                    for name in COMPARED
                ],
            }
            for entry in entries
        ],
    }


def arms_side_by_side(rounds: Sequence[Entry]) -> list[tuple[str, list[dict[str, Any]]]]:
    """(figure, rows of the arms' last reports) for the three figures arms are compared by; test part."""
    entries = last_of_each_arm(rounds)
    return [
        (
            title,
            [
                {
                    "arm": entry["arm"],
                    "round": entry["round"],
                    "key": draw.legend_marker(entry["arm"]),
                    "strip": draw.strip(
                        figure_in(entry["test"], name),
                        entry["arm"],
                        lesions=lesions_behind(entry["test"], name),
                    ),
                    "text": figure_text(entry["test"], name),
                }
                for entry in entries
            ],
        )
        for name, title in COMPARED.items()
    ]


def confusion_table(entry: Entry) -> ConfusionTable | None:
    """The confusion matrix of one report, rows the truth; None where the report holds none."""
    confusion = entry["test"].get("confusion")
    if not confusion:
        return None
    rows = []
    for name, counts in zip(confusion["classes"], confusion["counts"], strict=True):
        total = sum(counts)
        rows.append((name, total, [(count, count / total if total else 0.0) for count in counts]))
    return ConfusionTable(
        title=f"Round {entry['round']}, trained {in_words(entry['arm'])}",
        classes=tuple(confusion["classes"]),
        rows=rows,
    )
