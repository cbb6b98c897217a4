"""Malignant against benign in the report: ROC curves of the headline arms, and every malignancy that was missed.

Shape legend: N test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.arms import ENGINE, HEADLINE
from engine.artifacts.report_json import RoundEntry
from engine.artifacts.run_files import RunFiles
from engine.evaluation.intervals import lesions_behind
from engine.evaluation.scoring import malignant_score
from engine.report import charts as draw
from engine.report.pictures import decoded
from engine.report.roc_chart import RocLine, roc_chart
from engine.report.wording import NOTHING, figure_text
from engine.study.replicates import Replicate
from engine.types import BoolArray, FloatArray, IntArray

MAX_MISSED: Final = 24
"""Most missed malignancies on a page."""
SIDE: Final = 224
"""Pixels a side of their embedded pictures; smaller ones are not enlarged."""
BASELINES: Final = ("real", "plain")
"""The comparison arm: the first that was trained in the last round. Runs of schema 1 have no ``real``."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """A malignant test image below the operating point, with the malignant scores of both arms.

    ``taken_malignant``: its most probable class is malignant all the same; the threshold lies higher.
    """

    image_id: str
    lesion_id: str
    true: str
    taken_for: str
    taken_malignant: bool
    score: float
    other_score: float | None
    caught: bool
    uri: str | None


@dataclass(frozen=True, kw_only=True)
class _Called:
    """One arm on test: its malignant score, and whether it calls each image malignant, (N,)."""

    threshold: float
    score_N: FloatArray
    malignant_N: BoolArray


def roc_block(run: RunFiles, replicate: Replicate | None) -> dict[str, Any] | None:
    """Chart and table of the headline arms in the last round; None without predictions, or one of the two kinds."""
    if replicate is None or not _both_kinds(replicate):
        return None
    from sklearn.metrics import roc_curve

    truth_N = _truth(replicate)
    lines, rows = [], []
    for arm in _shown(replicate):
        entry = _entry(run, arm)
        if entry is None:
            continue
        score_N = malignant_score(replicate.test.prob[arm], replicate.malignant_columns)
        false_K, true_K, _ = roc_curve(truth_N, score_N)
        names = {name: f"malignant.{name}" for name in ("sensitivity", "specificity", "auc")}
        figures = {name: entry.figure("test", figure) for name, figure in names.items()}
        lines.append(
            RocLine(
                arm=arm,
                false_positive_K=false_K,
                true_positive_K=true_K,
                lesions=lesions_behind(entry.test, "malignant.auc"),
                **figures,
            )
        )
        rows.append(
            {
                "arm": arm,
                "key": draw.legend_marker(arm),
                "threshold": _score_text(_threshold(entry)),
                **{name: figure_text(entry.test, figure) for name, figure in names.items()},
            }
        )
    if not lines:
        return None
    seeds = max(len(replicate.test.seeds(line.arm)) for line in lines)
    return {"chart": roc_chart(lines), "rows": rows, "round": run.report.last_round(ENGINE), "seeds": seeds}


def missed_block(run: RunFiles, replicate: Replicate | None) -> dict[str, Any] | None:
    """The malignant test images that the engine's arm missed in the last round; None where it has no operating point."""
    if replicate is None or not _both_kinds(replicate):
        return None
    ours = _called(run, replicate, ENGINE)
    if ours is None:
        return None
    baseline = next((arm for arm in BASELINES if arm in replicate.arms), None)
    theirs = _called(run, replicate, baseline) if baseline is not None else None
    truth_N = _truth(replicate)
    missed_N = truth_N & ~ours.malignant_N
    caught_N = np.zeros_like(missed_N) if theirs is None else missed_N & theirs.malignant_N
    turned_N = np.zeros_like(missed_N) if theirs is None else truth_N & ours.malignant_N & ~theirs.malignant_N
    order = one_per_lesion_first(np.flatnonzero(missed_N), ours.score_N, replicate.test.lesion_id.tolist())
    lesion_N = replicate.test.lesion_id
    return {
        "arm": ENGINE,
        "other": baseline if theirs is not None else None,
        "round": run.report.last_round(ENGINE),
        "threshold": _score_text(ours.threshold),
        "other_threshold": _score_text(None if theirs is None else theirs.threshold),
        "n": int(missed_N.sum()),
        "n_lesions": len(set(lesion_N[missed_N].tolist())),
        "of": int(truth_N.sum()),
        "of_lesions": len(set(lesion_N[truth_N].tolist())),
        "caught": int(caught_N.sum()),
        "turned": int(turned_N.sum()),
        "seeds": len(replicate.test.seeds(ENGINE)),
        "cases": _cases(run, replicate, ours, theirs, order[:MAX_MISSED]),
    }


def one_per_lesion_first(rows: IntArray, score_N: FloatArray, lesion_N: Sequence[str]) -> list[int]:
    """Return the rows by rising score, the first photograph of each lesion before any second one."""
    turn: dict[str, int] = {}
    keyed = []
    for row in sorted(rows.tolist(), key=lambda row: (score_N[row], row)):
        turn[lesion_N[row]] = turn.get(lesion_N[row], 0) + 1
        keyed.append((turn[lesion_N[row]], score_N[row], row))
    return [row for _, _, row in sorted(keyed)]


def _cases(
    run: RunFiles, replicate: Replicate, ours: _Called, theirs: _Called | None, rows: Sequence[int]
) -> list[Missed]:
    test, classes = replicate.test, replicate.classes
    pictures = decoded(run, [str(test.image_id[row]) for row in rows], SIDE)
    taken_N = test.prob[ENGINE].argmax(axis=1)
    return [
        Missed(
            image_id=str(test.image_id[row]),
            lesion_id=str(test.lesion_id[row]),
            true=classes[test.label_N[row]],
            taken_for=classes[taken_N[row]],
            taken_malignant=int(taken_N[row]) in replicate.malignant_columns,
            score=float(ours.score_N[row]),
            other_score=None if theirs is None else float(theirs.score_N[row]),
            caught=theirs is not None and bool(theirs.malignant_N[row]),
            uri=pictures.get(str(test.image_id[row])),
        )
        for row in rows
    ]


def _called(run: RunFiles, replicate: Replicate, arm: str) -> _Called | None:
    """Return what an arm calls malignant; None where report.json names no threshold."""
    entry = _entry(run, arm)
    threshold = None if entry is None else _threshold(entry)
    if threshold is None or arm not in replicate.arms:
        return None
    score_N = malignant_score(replicate.test.prob[arm], replicate.malignant_columns)
    return _Called(threshold=threshold, score_N=score_N, malignant_N=score_N >= threshold)


def _entry(run: RunFiles, arm: str) -> RoundEntry | None:
    return run.report.entry(run.report.last_round(ENGINE) or 0, arm)


def _threshold(entry: RoundEntry) -> float | None:
    """Return the operating point that val fixed, None where it fixed none."""
    found = (entry.test.get("malignant") or {}).get("threshold")
    return None if found is None else float(found)


def _score_text(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _shown(replicate: Replicate) -> list[str]:
    """The engine's arm and those that its answer compares it with, in the order of the report."""
    return [arm for arm in replicate.arms if arm in (ENGINE, *HEADLINE, *BASELINES)]


def _truth(replicate: Replicate) -> BoolArray:
    return np.isin(replicate.test.label_N, replicate.malignant_columns)


def _both_kinds(replicate: Replicate) -> bool:
    truth_N = _truth(replicate)
    return bool(truth_N.any() and not truth_N.all())
