"""What `hardcase watch` shows of a run that may be in progress: any file may be missing, or not be there yet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from engine.artifacts import report_json, run_progress, run_stages
from engine.artifacts.report_json import RoundEntry
from engine.artifacts.run_layout import SHEETS, RunLayout
from engine.errors import DataError
from engine.labelling.simulated import in_rounds
from engine.report import tables
from engine.report.wording import SIMULATED_BANNER, duration, protocol_words
from engine.review.class_names import class_names
from engine.store.kept_files import read_config

COLUMNS: Final = tables.COLUMNS[:5]
"""Of the report's table of rounds: balanced accuracy, malignant sensitivity and specificity, accuracy, AUC."""
STAGES_SHOWN: Final = 8
SILENT: Final = 120.0
"""Seconds without a note after which the page says that the process may have ended."""
ACTIONS: Final[Mapping[str, str]] = {
    "continue": "in progress",
    "stop": "finished",
    "roll_back": "finished",
    "review": "waits for a person",
    "failed": "did not finish",
}


def watched(run: Path, now: float | None = None) -> dict[str, Any]:
    """Return what the page prints; ``now`` is the time, seconds since 1970.

    A file that is damaged, or of another version, becomes a line in ``problems``.
    """
    layout, problems = RunLayout(run), list[str]()
    rounds, report = _rounds(layout, problems)
    wanted, malignant = _planned(layout, problems)
    known = sorted({entry.round for entry in rounds})
    objects = [entry.to_json() for entry in rounds]
    scored = [entry for entry in objects if entry["test"].get("per_class")]
    protocol = report.protocol if report is not None else ""
    return {
        "name": run.resolve().name,
        "state": ACTIONS.get(report.stopping.action, "in progress") if report is not None else "in progress",
        "reason": report.stopping.reason if report is not None else "",
        "protocol": protocol,
        "protocol_words": protocol_words(protocol, report.data)
        if report is not None and protocol != "safe"
        else None,
        "simulated": SIMULATED_BANNER if _simulated(run, rounds, problems) else None,
        "rounds_done": f"{known[-1]} of {wanted}" if known and wanted is not None else "",
        "progress": _progress(run, time.time() if now is None else now),
        "headings": [column.heading for column in COLUMNS],
        "rounds": tables.rounds_table(scored, COLUMNS),
        "classes": _classes(scored, malignant),
        "charts": tables.class_charts(scored),
        "stages": _stages(run, problems),
        "sheet": (sheet.parent.name + "/" + sheet.name) if (sheet := last_sheet(layout)) else "",
        "sheet_version": sheet.stat().st_mtime_ns if sheet else 0,
        "problems": problems,
    }


def last_sheet(layout: RunLayout) -> Path | None:
    """Return the newest sheet of pictures: the run's contact sheet, or that of a round's synthetic images."""
    rounds = [layout.round_folder(number) / SHEETS[1] for number in layout.round_numbers()]
    there = [path for path in (layout.contact_sheet, *rounds) if path.is_file()]
    return max(there, key=lambda path: path.stat().st_mtime_ns, default=None)


def _rounds(layout: RunLayout, problems: list[str]) -> tuple[list[RoundEntry], report_json.RunReport | None]:
    """Return every (round, arm) that is published, those the run's report does not have yet included."""
    try:
        report = report_json.read_if_written(layout.path)
        found = {(e.round, e.arm): e for e in (report.rounds if report is not None else ())}
        for number, arm in layout.published_arms():
            folder = layout.arm_folder(number, arm)
            if (number, arm) not in found and RoundEntry.present(folder):
                found[number, arm] = report_json.read_round(folder)
    except DataError as error:
        problems.append(str(error))
        return [], None
    return sorted(found.values(), key=lambda e: (e.round, e.arm != layout.main_arm(e.round))), report


def _simulated(run: Path, rounds: Sequence[RoundEntry], problems: list[str]) -> bool:
    """Whether figures rest on labels that an oracle uncovered."""
    try:
        return in_rounds(run, rounds)
    except DataError as error:
        problems.append(str(error))
        return False


def _planned(layout: RunLayout, problems: list[str]) -> tuple[int | None, Sequence[str]]:
    """Return how many rounds the config plans, and its malignant classes."""
    try:
        config = read_config(layout.config)
    except DataError as error:
        problems.append(str(error))
        return None, ()
    return config.loop.rounds, config.data.malignant


def _progress(run: Path, now: float) -> dict[str, Any] | None:
    note = run_progress.read_if_written(run)
    if note is None:
        return None
    silent = max(0.0, now - note.at)
    left = note.seconds_left
    return {
        "stage": note.stage,
        "what": note.what,
        "done": note.done,
        "total": note.total,
        "left": "" if left is None else duration(max(0.0, left - silent)),
        "since": duration(max(0.0, now - note.began)),
        "silent": duration(silent) if silent > SILENT else "",
        "beside": ", ".join(note.beside),
    }


def _classes(scored: Sequence[Mapping[str, Any]], malignant: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of the table of classes, the last round first within each class."""
    names = class_names(tables.classes_of(scored), malignant)
    counts = tables.class_counts(scored)
    rows = tables.class_table(scored)
    return [
        {
            "name": names[dx].short,
            "count": counts[dx],
            "rows": [row for row in reversed(rows) if row["dx"] == dx],
        }
        for dx in names
    ]


def _stages(run: Path, problems: list[str]) -> list[dict[str, str]]:
    """Return the latest stages, the last first, with what each cost."""
    try:
        lines = run_stages.read_log(run)
    except DataError as error:
        problems.append(str(error))
        return []
    return [
        {"role": line.role, "seconds": duration(line.seconds) if line.ran else "found in the cache"}
        for line in lines[: -STAGES_SHOWN - 1 : -1]
    ]
