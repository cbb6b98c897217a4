"""study.html and study.json: one page and one file for a study over several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from engine.artifacts import study_json
from engine.artifacts.run_files import RunFiles
from engine.artifacts.secrets import masked
from engine.artifacts.whole_files import write_text
from engine.labelling.simulated import in_run
from engine.report.blocks import record
from engine.report.blocks.evidence import study_evidence
from engine.report.blocks.labels import study_labels
from engine.report.blocks.study import challenging_means
from engine.report.blocks.subgroups import mean_subgroups
from engine.report.tables import CHART_ARMS
from engine.report.templating import render_page
from engine.report.wording import NOTHING, SIMULATED_BANNER, percent, protocol_words
from engine.study.contrasts import Study
from engine.study.record import study_record


def write_study(study: Study, files: Sequence[RunFiles], out: Path, name: str) -> tuple[Path, Path]:
    """Write ``out/study.html`` and ``out/study.json`` and return their paths.

    Args:
        study: what was found.
        files: the run folders in the order of ``study.runs``.
        out: an existing folder.
        name: title of the page.
    """
    simulated = any(in_run(run.path, run.report) for run in files)
    found = study_record(study, [_facts(run) for run in files]) | {"simulated_labels": simulated}
    page = render_page("study.html.j2", _content(study, files, found, name))
    return write_text(out / study_json.PAGE, page), study_json.write(found, out)


def _content(study: Study, files: Sequence[RunFiles], found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Everything the template prints."""
    kind = study.runs[0].protocol
    apart = max(run.report.data.get("duplicates_apart", 0) for run in files)
    title, explanation = protocol_words(kind, {"duplicates_apart": apart})
    synthetic = [entry.synthetic for run in files for entry in run.rounds if entry.synthetic is not None]
    return {
        "name": name,
        "protocol": {"kind": kind, "title": title, "explanation": explanation},
        "simulated": SIMULATED_BANNER if found["simulated_labels"] else None,
        **study_evidence(study, files),
        "labels": study_labels(files, study.design, study.draws),
        "runs": found["runs"],
        "challenging": challenging_means(files),
        "subgroups": mean_subgroups(
            [_last_entries(run) for run in files], same_test=study.design.kind != "cross-validation"
        ),
        "brackets": "mean over runs; brackets hold the lowest and the highest, no interval",
        "yields": record.yields_table(pd.concat(synthetic, ignore_index=True)) if synthetic else None,
        "copies": _copies(files),
        "config_text": masked(files[0].config_text),
        "nothing": NOTHING,
    }


def _facts(run: RunFiles) -> dict[str, Any]:
    report = run.report
    digests = {"config_digest": report.config_digest or None, "split_digest": report.split_digest or None}
    return {"round": report.last_round(), **digests}


def _last_entries(run: RunFiles) -> dict[str, Mapping[str, Any]]:
    entries = run.report.of_round(run.report.last_round())
    return {entry.arm: entry.to_json() for entry in entries if entry.arm in CHART_ARMS}


def _copies(files: Sequence[RunFiles]) -> dict[str, Any]:
    """Copies of training images over all runs and rounds."""
    found = [t for run in files for entry in run.rounds if (t := record.copies_table(entry))]
    count, generated = (sum(t[key] for t in found) for key in ("count", "generated"))
    return {"count": count, "generated": generated, "rate": percent(count / generated if generated else None)}
