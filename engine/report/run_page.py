"""report.html: one self-contained page from the files of a run folder, and pictures of its test lesions in the stage cache.

No script, font, picture or style comes from elsewhere; the page holds no time stamp, so the same run gives the same
bytes. The order of the page: what it is, what was found and how far to trust it, the first hard cases, then the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.arms import in_words
from engine.artifacts.report_json import RunReport
from engine.artifacts.run_files import RunFiles, read_run
from engine.artifacts.run_layout import RunLayout
from engine.artifacts.secrets import masked
from engine.artifacts.whole_files import write_text
from engine.errors import ConfigError
from engine.evaluation.figures import in_sentence
from engine.labelling.simulated import in_run
from engine.report import tables
from engine.report.blocks import record
from engine.report.blocks.cases import FIRST_CASES, MAX_SAMPLES, cases_of
from engine.report.blocks.evidence import run_evidence
from engine.report.pictures import inside, picture
from engine.report.templating import render_page
from engine.report.wording import (
    FORMATS,
    NOTHING,
    SIMULATED_BANNER,
    figure_text,
    headline,
    one_run,
    percent,
    protocol_words,
)
from engine.study.next_step import NextStep, next_step
from engine.study.pools import OWN, pools_of
from engine.study.run_replicates import endpoints_of

_SHEET_SIDE = 1400
_MAX_SHEETS = 6
_SHEET_WORDS = {"contact_sheet": "real images, their reconstruction by the autoencoder, and synthetic images"}


def render_report(run: Path) -> str:
    """Return the page of a run folder; every file but report.json may be missing; its block then names it.

    Raises:
        DataError: report.json is missing or broken, or a parquet file cannot be read.
    """
    return render_page("report.html.j2", _content(read_run(run)))


def write_report(run: Path) -> Path:
    """Write ``run/report.html`` and return its path; a reader never sees half a page."""
    return write_text(RunLayout(run).page, render_report(run))


def _content(run: RunFiles) -> dict[str, Any]:
    """Everything the template prints."""
    report = run.report
    rounds = [entry.to_json() for entry in report.rounds]
    protocol = report.protocol
    title, explanation = protocol_words(protocol, report.data)
    cases, n_mined = cases_of(run)
    return {
        "name": report.name or run.config.get("name") or run.path.name,
        "protocol": {"kind": protocol, "title": title, "explanation": explanation},
        "simulated": SIMULATED_BANNER if in_run(run.path, report) else None,
        "headline": _headline(run, rounds),
        **run_evidence(run),
        "summary": _summary(run, rounds),
        "champion": _champion(run),
        "stopping": report.stopping.to_json(),
        "next_step": _next_step(run),
        "arms": list(dict.fromkeys(entry.arm for entry in report.rounds)),
        "chart_arms": [arm for arm in tables.CHART_ARMS if report.of_arm(arm)],
        "rounds": tables.rounds_table(rounds, tables.COLUMNS),
        "headings": [column.heading for column in tables.COLUMNS],
        "further": tables.rounds_table(rounds, tables.FURTHER),
        "further_headings": [column.heading for column in tables.FURTHER],
        "class_charts": tables.class_charts(rounds),
        "by_round": tables.malignant_by_round(rounds),
        "class_table": tables.class_table(rounds),
        "class_counts": tables.class_counts(rounds),
        "arms_side_by_side": tables.arms_side_by_side(rounds),
        "challenging": tables.challenging_table(rounds),
        "confusions": _confusions(rounds),
        "cases": cases,
        "first_cases": FIRST_CASES,
        "n_mined": n_mined,
        "max_samples": MAX_SAMPLES,
        "acceptance": [t for entry in run.rounds if (t := record.acceptance_table(entry))],
        "judge": [t for entry in run.rounds if (t := record.judge_table(entry))],
        "judge_beside": [t for entry in run.rounds if (t := record.judge_beside(entry, report.rounds))],
        "copies": [t for entry in run.rounds if (t := record.copies_table(entry))],
        "fidelity": [t for entry in run.rounds if (t := record.fidelity_table(entry))],
        "sheets": _sheets(run),
        "split": record.split_table(run),
        "seconds": record.seconds_table(report),
        "attempts": record.attempts_table(report),
        "digests": _digests(report),
        "config_text": masked(run.config_text),
        "nothing": NOTHING,
    }


def _next_step(run: RunFiles) -> NextStep | None:
    """What to type next, with the run's folder as RUN; None where its config is not one of this version."""
    try:
        return next_step(RunLayout(run.path), run.report.stopping.action, "RUN")
    except ConfigError:
        return None


def _headline(run: RunFiles, rounds: Sequence[Mapping[str, Any]]) -> str:
    """The plain comparison of hard and real, or that nothing was tested where both trained on the same images."""
    pools = pools_of(run.report, run.report.last_round() or 0)
    if "hard" in pools and pools["hard"] == pools.get("real"):
        why = "no synthetic image was accepted: " if pools["hard"] == OWN else ""
        return (
            f"In round {run.report.last_round()} {why}training {in_words('hard')} and {in_words('real')} used the same "
            "images. Nothing was tested."
        )
    return headline(rounds)


def _summary(run: RunFiles, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of the opening paragraph."""
    data, config = run.report.data, run.config
    test = rounds[0]["test"] if rounds else {}
    loop = config.get("loop") or {}
    return {
        "format": _format(data.get("format") or (config.get("data") or {}).get("format") or "unknown"),
        "image_size": (config.get("data") or {}).get("image_size"),
        "n_images": data.get("n_images"),
        "n_lesions": data.get("n_lesions"),
        "grouped_by": data.get("grouped_by"),
        "without_group": data.get("without_group"),
        "unlabelled": data.get("unlabelled"),
        "answered": data.get("answered"),
        "n_skipped": data.get("n_skipped") or 0,
        "masks": data.get("masks") or {},
        "n_rounds": len({entry["round"] for entry in rounds if entry["round"] > 0}),
        "generator_saw": run.report.rounds[0].generator_saw if rounds else loop.get("generator_saw"),
        "mine_from": loop.get("mine_from"),
        "malignant": (config.get("data") or {}).get("malignant") or [],
        "n_test": test.get("n"),
        "n_test_lesions": test.get("n_lesions"),
        "n_malignant": (test.get("malignant") or {}).get("n"),
        "specificity": (config.get("evaluation") or {}).get("specificity"),
        "max_ratio": loop.get("max_synthetic_ratio"),
        "melanoma_sensitivity": (config.get("evaluation") or {}).get("melanoma_sensitivity"),
        "draws": (config.get("evaluation") or {}).get("bootstrap"),
        "one_run": one_run(rounds[-1]) if rounds else "One run",
    }


def _format(name: str) -> str:
    return FORMATS.get(name, name)


def _champion(run: RunFiles) -> dict[str, str] | None:
    champion = run.report.champion
    if not champion:
        return None
    name = str(champion.get("metric", "")).rpartition("/")[2]
    entry = run.report.entry(champion["round"], champion["arm"])
    return {
        "round": str(champion["round"]),
        "arm": str(champion["arm"]),
        "metric": in_sentence(name, endpoints_of(run.config).specificity).replace("_", " "),
        "value": percent(champion.get("value")) if entry is None else figure_text(entry.val, name),
    }


def _confusions(rounds: Sequence[Mapping[str, Any]]) -> dict[str, list[tables.ConfusionTable]]:
    """Matrices shown at once (the start, and the last of real and hard), and those folded away."""
    shown = [rounds[0]] if rounds else []
    shown += [e for e in tables.last_of_each_arm(rounds) if e["arm"] in tables.CHART_ARMS and e not in shown]
    folded = [entry for entry in rounds if entry not in shown]
    return {
        name: [t for entry in entries if (t := tables.confusion_table(entry))]
        for name, entries in (("shown", shown), ("folded", folded))
    }


def _sheets(run: RunFiles) -> list[dict[str, str]]:
    """Contact sheets of RUN/figures, in the order of their names."""
    folder = run.layout.figures
    found = []
    for path in sorted(folder.glob("*.png"))[:_MAX_SHEETS]:
        uri = picture(path, _SHEET_SIDE) if inside(folder, path.name) else None
        if uri:
            says = _SHEET_WORDS.get(path.stem, "a picture of this run")
            found.append({"name": path.stem.replace("_", " "), "says": says, "uri": uri})
    return found


def _digests(report: RunReport) -> dict[str, Any]:
    """Digests of the whole run, then of each (round, arm)."""
    return {
        "run": [
            (key, getattr(report, key)) for key in ("split_digest", "config_digest") if getattr(report, key)
        ],
        "rounds": [
            (f"Round {entry.round}, {entry.arm}", sorted(entry.digests.items())) for entry in report.rounds
        ],
        "schema_version": report.schema_version,
    }
