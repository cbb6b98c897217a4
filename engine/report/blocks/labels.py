"""What a page says of labels bought in rounds: learning curves, counts, label savings, agreement of readers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from engine.arms import ENGINE, START, in_words
from engine.artifacts.report_json import Figure, RoundEntry, RunReport
from engine.artifacts.run_files import RunFiles
from engine.evaluation.figures import figure_words, is_share
from engine.labelling.state import labelling_state
from engine.report import charts as draw
from engine.report.curve_chart import CurveLine, curve_chart
from engine.report.wording import NOTHING, figure_text, number_interval, percent, percent_interval
from engine.study.design import Design
from engine.study.design_intervals import headline_of, intervals
from engine.study.label_curves import FIGURE, LabelCurves, label_curves
from engine.study.label_scores import QUERY, RANDOM, asked, bought, read_scores
from engine.study.labels import Amount, Curve, Savings
from engine.study.run_replicates import endpoints_of

NO_SAVINGS: Final = (
    f"Label savings are not shown: they take the predictions trained {in_words(QUERY)} and {in_words(RANDOM)} in every "
    "round, "
    f"up to the last one trained {in_words(ENGINE)}."
)


def run_labels(run: RunFiles, design: Design | None, draws: int) -> dict[str, Any] | None:
    """Return the block of one run; None where no arm has bought labels.

    Args:
        run: the run folder.
        design: of the run alone; None where its arms cannot be compared, and savings are left out.
        draws: bootstrap draws.
    """
    arms = bought([run])
    if not arms:
        return None
    primary = endpoints_of(run.config).primary[0]
    figures = [FIGURE, *([primary] if primary != FIGURE else [])]
    curves = None if design is None else _curves([run], design, draws)
    return {
        "replicates": 1,
        "unit": "run",
        "arms": _legend(arms, run.report),
        "charts": [(figure_words(name), _run_chart(run.report, arms, name)) for name in figures],
        "headings": [figure_words(name) for name in figures],
        "rows": [_row(entry, figures) for entry in _in_chart(run.report)],
        "readers": _readers(run),
        **_worth(curves),
    }


def study_labels(files: Sequence[RunFiles], design: Design, draws: int) -> dict[str, Any] | None:
    """Return the block of several runs: curves over replicates; None where no arm bought labels in all of them."""
    arms = bought(files)
    if not arms:
        return None
    curves = _curves(files, design, draws)
    return {
        "replicates": design.replicates,
        "unit": design.unit,
        "arms": _legend(arms, files[0].report),
        "charts": [(figure_words(FIGURE), _study_chart(curves))] if curves is not None else [],
        "headings": [figure_words(FIGURE)],
        "rows": [] if curves is None else _study_rows(curves, files),
        "readers": [],
        **_worth(curves),
    }


def _curves(files: Sequence[RunFiles], design: Design, draws: int) -> LabelCurves | None:
    """None where predictions of a round are not there."""
    scores = [found for run in files if (found := read_scores(run)) is not None]
    return label_curves(scores, design, draws=draws) if len(scores) == len(files) else None


def _legend(arms: Sequence[str], report: RunReport) -> list[tuple[str, Any]]:
    last = report.last_round(ENGINE)
    levels = [arm for arm in (START, ENGINE) if last is not None and report.entry(last, arm)]
    return [(arm, draw.legend_marker(arm)) for arm in (*arms, *levels)]


def _text(name: str) -> Callable[[Figure], str]:
    return percent_interval if is_share(name) else number_interval


def _run_chart(report: RunReport, arms: Sequence[str], name: str) -> Any:
    """One figure of a run as report.json has it, by the labels that each arm had asked for."""
    start, last = report.entry(0, START), report.last_round(ENGINE)
    lines = []
    for arm in arms:
        entries = [entry for entry in report.of_arm(arm) if entry.labels is not None]
        entries = [*([start] if start is not None else []), *sorted(entries, key=lambda e: e.round)]
        points = [(float(asked(entry)), entry.figure("test", name)) for entry in entries]
        lines.append(CurveLine(arm=arm, points=points))
    found = [report.entry(last, arm) for arm in (START, ENGINE)] if last is not None else []
    levels = [
        CurveLine(arm=entry.arm, points=[(0.0, entry.figure("test", name))])
        for entry in found
        if entry is not None
    ]
    return curve_chart(figure_words(name), lines, levels, _text(name))


def _in_chart(report: RunReport) -> list[RoundEntry]:
    """What the chart shows, in the report's order: the start, every arm with bought labels, `real` and `hard` at the end."""
    last = report.last_round(ENGINE)
    shown = {(0, START), (last, START), (last, ENGINE)}
    return [e for e in report.rounds if e.labels is not None or (e.round, e.arm) in shown]


def _row(entry: RoundEntry, figures: Sequence[str]) -> dict[str, Any]:
    labels = entry.labels
    counts = [0] * 4
    if labels is not None:
        counts = [labels.asked, labels.answered, labels.conflicts, labels.unsure]
    cells = [figure_text(entry.test, name) for name in figures]
    return _cells(str(entry.round), entry.arm, [*map(str, counts), *cells])


def _cells(number: str, arm: str, cells: Sequence[str]) -> dict[str, Any]:
    return {"round": number, "arm": arm, "key": draw.legend_marker(arm), "cells": list(cells)}


def _study_chart(curves: LabelCurves) -> Any:
    lines = [
        CurveLine(arm=arm, points=list(zip(curve.asked_P.tolist(), _figures(curve, curves), strict=True)))
        for arm, curve in curves.curves.items()
    ]
    levels = [
        CurveLine(arm=arm, points=[(0.0, _figures(curve, curves)[0])]) for arm, curve in curves.levels.items()
    ]
    return curve_chart(figure_words(FIGURE), lines, levels, number_interval)


def _study_rows(curves: LabelCurves, files: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """One row per arm and round: mean counts over runs, the figure over replicates."""
    rows = []
    for arm, curve in curves.curves.items():
        entries = [[e for e in run.report.of_arm(arm) if e.labels is not None] for run in files]
        figures = _figures(curve, curves)[-len(curve.asked_P) + 1 :]
        numbers = sorted(set.intersection(*({e.round for e in of_run} for of_run in entries)))
        for number, figure in zip(numbers, figures, strict=True):
            bought_here = [e.labels for of_run in entries for e in of_run if e.round == number and e.labels]
            counts = [
                f"{np.mean([getattr(labels, name) for labels in bought_here]):g}"
                for name in ("asked", "answered", "conflicts", "unsure")
            ]
            rows.append(_cells(str(number), arm, [*counts, number_interval(figure)]))
    start = _figures(next(iter(curves.curves.values())), curves)[0]
    flat = [(0, START, start)] + [
        (files[0].report.last_round(ENGINE), arm, _figures(curve, curves)[0])
        for arm, curve in curves.levels.items()
    ]
    return [_cells(str(n), arm, [*["0"] * 4, number_interval(figure)]) for n, arm, figure in flat] + rows


def _figures(curve: Curve, curves: LabelCurves) -> list[Figure]:
    """Each point's mean over replicates with the outer ends of the design's two intervals."""
    found = []
    for value_R, drawn_RB in zip(curve.value_RP.T, np.moveaxis(curve.drawn_RBP, 2, 0), strict=True):
        known_B = np.isfinite(drawn_RB).all(axis=0)
        if not np.isfinite(value_R).all() or not known_B.any():
            found.append(Figure(value=None))
            continue
        wide = headline_of(intervals(value_R, drawn_RB[:, known_B], curves.design, 0))
        found.append(Figure(value=wide.value, low=max(wide.low, 0.0), high=min(wide.high, 1.0)))
    return found


def _worth(curves: LabelCurves | None) -> dict[str, Any]:
    """Label savings, and what one label is worth in synthetic images, in words."""
    savings = curves.savings() if curves is not None else ()
    last = savings[-1] if savings else None
    worth, why = curves.worth() if curves is not None else (None, "the arms cannot be compared")
    return {
        "savings": NO_SAVINGS if last is None else savings_sentence(last),
        "savings_rows": [_savings_row(one) for one in savings],
        "worth": worth_sentence(worth, why),
        "query": in_words(QUERY),
        "random": in_words(RANDOM),
    }


def savings_sentence(found: Savings) -> str:
    """Return how many labels random asking needs for what the policy reached with the last ones, and the share saved."""
    needed = _amount(found.needed, found.most, lambda value: f"{value:.0f}")
    saved = (
        f"a share of {_saved(found)} saved" if found.saved is not None else "the share saved is not shown, "
    )
    saved += "" if found.saved is not None else "since random asking may reach it without any label"
    return (
        f"With {found.labels:.0f} labels the classifier trained {in_words(QUERY)} reached a malignant AUC of "
        f"{found.reached:.3f}; trained {in_words(RANDOM)} it needs {needed} labels for it: {saved}."
    )


def worth_sentence(found: Amount | None, why: str) -> str:
    """Return how many synthetic images gain what one label gains, or why that is not shown."""
    if found is None:
        return f"What one label is worth in synthetic images is not shown: {why}."
    text = _amount(found, math.inf, lambda value: f"{value:.1f}")
    return (
        f"At equal gain in malignant AUC over training {in_words(START)}, one label was worth {text} synthetic images of "
        f"training {in_words(ENGINE)}."
    )


def _savings_row(found: Savings) -> list[str]:
    needed = _amount(found.needed, found.most, lambda value: f"{value:.0f}")
    return [f"{found.labels:.0f}", f"{found.reached:.3f}", needed, _saved(found) if found.saved else NOTHING]


def _saved(found: Savings) -> str:
    """``33 % (10 to more than 50)``: the share of random asking's labels that the policy saved."""
    assert found.saved is not None
    needed, saved = found.needed, found.saved
    pairs = ((needed.value, saved.value), (needed.low, saved.low), (needed.high, saved.high))
    value, low, high = (
        ("more than " if math.isinf(labels) else "") + f"{100 * share:.0f}" for labels, share in pairs
    )
    return f"{value}\u00a0% ({low} to {high})"


def _amount(found: Amount, most: float, text: Callable[[float], str]) -> str:
    """``150 (90 to more than 200)``: a number with its interval."""
    value, low, high = (
        (f"more than {text(most)}" if math.isfinite(most) else "any number of")
        if math.isinf(end)
        else text(end)
        for end in (found.value, found.low, found.high)
    )
    return f"{value} ({low} to {high})"


def _readers(run: RunFiles) -> list[str]:
    """How far readers agree where several answered, and how often the model's guess was in sight; [] without readers."""
    if run.split is None:
        return []
    state = labelling_state(run.path)
    guess = state.with_model
    said = []
    if state.several is not None:
        found = state.several
        kappa = number_interval(found.kappa)
        who = "They" if len(found.readers) == 2 else "Two of them"
        said.append(
            f"{len(found.readers)} readers have {found.images} image{'' if found.images == 1 else 's'} in common. {who} say "
            f"the same of {percent(found.share)}; Fleiss' kappa, agreement beyond chance, is {kappa}."
        )
    elif guess.shown + guess.unseen:
        said.append("No two readers have an image in common, so their agreement cannot be told.")
    if guess.shown + guess.unseen:
        total = guess.shown + guess.unseen
        said.append(f"The model's guess was shown before {guess.shown} of {total} labels that readers gave.")
    return said
