"""Tables of record in the report: what the gates accepted, how the data was split, where the time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from engine.arms import in_words
from engine.artifacts.report_json import RoundEntry, RunReport
from engine.artifacts.run_files import RoundFiles, RunFiles
from engine.artifacts.run_layout import NEAREST
from engine.report import charts as draw
from engine.report.pictures import picture
from engine.report.wording import NOTHING, STAGES, duration, figure_text, interval_text, percent
from engine.types import SPLITS

REASONS: Mapping[str, str] = {
    "judge": "judge disagreed",
    "memorized": "too close to a train image",
    "support": "too far from every train image",
    "review": "not approved by a person",
    "over max_synthetic_ratio": "class already full",
    "over max_synthetic": "enough images in all",
    "not selected": "others teach more",
}
"""Words for the stable first part of a rejection reason (policies, accept stage); others are shown as they are."""

_REASON_COLOURS = ("#0b5cad", "#b4500f", "#a3446c", "#9c6a00", "#5a6068")


def acceptance_table(entry: RoundFiles) -> dict[str, Any] | None:
    """Accepted and rejected images per class, rejected ones by reason; None without synthetic.parquet."""
    if entry.synthetic is None:
        return None
    return {"round": entry.number, **yields_table(entry.synthetic)}


def yields_table(frame: pd.DataFrame) -> dict[str, Any]:
    """Rows of accepted and rejected images per class of any synthetic.parquet table."""
    outcome = [
        "accepted" if accepted else reason_group(reason)
        for accepted, reason in zip(frame["accepted"], frame["reasons"], strict=True)
    ]
    names = sorted(set(outcome) - {"accepted"})
    colours = {name: _REASON_COLOURS[1 + i % 4] for i, name in enumerate(names)} | {
        "accepted": _REASON_COLOURS[0]
    }
    rows = []
    for dx in sorted(frame["dx"].astype(str).unique()):
        counts = Counter(o for o, name in zip(outcome, frame["dx"].astype(str), strict=True) if name == dx)
        parts = [(name, counts[name], colours[name]) for name in ("accepted", *names)]
        rows.append(
            {
                "dx": dx,
                "generated": sum(counts.values()),
                "accepted": counts["accepted"],
                "share": percent(counts["accepted"] / sum(counts.values()), 0),
                "rejected": [counts[name] for name in names],
                "bar": draw.stacked_bar(parts),
            }
        )
    return {"reasons": [(name, colours[name]) for name in names], "rows": rows}


def copies_table(entry: RoundFiles) -> dict[str, Any] | None:
    """Images that are nearer to a train image than nearly all train lesions are to another; None without figures."""
    if entry.accept is None or entry.accept.memorized is None:
        return None
    found, nearest = entry.accept.memorized, entry.folder / NEAREST
    return {
        "round": entry.number,
        "count": found.count,
        "generated": sum(entry.accept.generated.values()),
        "rate": percent(found.rate),
        "threshold": f"{found.threshold:.3f}",
        "share": 100 - found.percentile,
        "nearest": picture(nearest, 1400) if nearest.is_file() else None,
    }


def reason_group(reason: Any) -> str:
    """Group a rejection by its gates: ``judge: mel 0.12 < 0.50; memorized: ...`` -> one phrase for both."""
    parts = reason if isinstance(reason, list | tuple) else str(reason).split(";")
    heads = [str(part).partition(":")[0].strip() for part in parts]
    return (
        " and ".join(dict.fromkeys(REASONS.get(head, head) for head in heads if head)) or "no reason recorded"
    )


def judge_table(entry: RoundFiles) -> dict[str, Any] | None:
    """How often the judge took ungated samples for their class, beside its recall on real val images."""
    accept = entry.accept
    if accept is None:
        return None
    return {
        "round": entry.number,
        "agreement": percent(accept.agreement),
        "expected": percent(accept.expected_agreement),
        "ratio": percent(accept.agreement_ratio, 0),
        "rows": [
            {
                "dx": dx,
                "generated": figures.generated,
                "agreement": percent(figures.agreement),
                "recall": percent(figures.val_recall),
            }
            for dx, figures in sorted(accept.per_class.items())
        ],
    }


BESIDE: Mapping[str, str] = {
    "balanced_accuracy": "Balanced accuracy",
    "malignant.auc": "Malignant AUC",
    "log_loss": "Log loss",
    "ece": "Calibration error",
}
"""Figures by which the judge stands beside the classifiers, by their names in report.json."""


def judge_beside(entry: RoundFiles, arms: Sequence[RoundEntry]) -> dict[str, Any] | None:
    """The judge's figures on real val images beside those of the round's arms; None where the round has none.

    Soft labels are the judge's: where it is worse than the classifier it teaches, they may teach its mistakes.
    """
    if entry.accept is None or not entry.accept.judge_val:
        return None
    judge = RoundEntry(round=entry.number, arm="judge", val=entry.accept.judge_val)
    own = [found for found in arms if found.round == entry.number]
    return {
        "round": entry.number,
        "temperature": f"{entry.accept.judge_temperature or 1.0:.2f}",
        "columns": list(BESIDE.values()),
        "rows": [
            {
                "name": f"trained {in_words(found.arm)}" if found is not judge else "the judge",
                "cells": [figure_text(found.val, name) for name in BESIDE],
            }
            for found in (judge, *own)
        ],
    }


FIDELITY: Mapping[str, str] = {
    "kid": "KID x 1000",
    "kid_unseen": "unseen real, KID x 1000",
    "fid": "FID",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "inception_score": "Inception score",
}
"""Columns of the fidelity table, by the names of fidelity.json."""


def fidelity_table(entry: RoundFiles) -> dict[str, Any] | None:
    """How far the ungated samples of a round are from train images, overall and by class; None without the file."""
    found = entry.fidelity
    if found is None or not found.overall:
        return None
    rows = [("all classes", found.overall), *sorted(found.per_class.items())]
    return {
        "round": entry.number,
        "features": found.features,
        "columns": list(FIDELITY.values()),
        "rows": [
            {
                "name": name,
                "n": f"{figures['n_synthetic']} / {figures['n_real']}",
                "cells": [_fidelity_cell(key, figures.get(key)) for key in FIDELITY],
            }
            for name, figures in rows
        ],
    }


def _fidelity_cell(key: str, figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return NOTHING
    scale, digits = (1000.0, 1) if key.startswith("kid") else (1.0, 1 if key == "fid" else 2)

    def text(value: float) -> str:
        return f"{scale * value:.{digits}f}"

    return interval_text(figure, text, text)


def split_table(run: RunFiles) -> dict[str, Any] | None:
    """Images (lesions) of each class in each part, how many lesions lie in two parts, which stay together; None without."""
    if run.split is None:
        return None
    frame = run.split.frame()
    present = [part for part in SPLITS if (frame["split"] == part).any()]

    def cell(rows: pd.DataFrame) -> str:
        return f"{len(rows)} ({rows['lesion_id'].nunique()})"

    by_class = [
        (str(dx), [cell(group[group["split"] == part]) for part in present], cell(group))
        for dx, group in frame.groupby("dx", sort=True)
    ]
    total = ("all", [cell(frame[frame["split"] == part]) for part in present], cell(frame))
    straddling = int((frame.groupby("lesion_id")["split"].nunique() > 1).sum())
    lesions_G = frame.groupby("group")["lesion_id"].nunique()
    joined = lesions_G[lesions_G > 1]
    together = {"lesions": int(joined.sum()), "groups": len(joined)}
    return {"parts": present, "rows": [*by_class, total], "straddling": straddling, "together": together}


def seconds_table(report: RunReport) -> dict[str, Any]:
    """Time by stage: the foundation once, then a row per (round, arm)."""
    rounds = report.rounds
    stages = list(dict.fromkeys(name for entry in rounds for name in entry.seconds))
    rows = [
        {
            "round": entry.round,
            "arm": entry.arm,
            "cells": [duration(entry.seconds[s]) if s in entry.seconds else "" for s in stages],
            "total": duration(sum(entry.seconds.values())),
        }
        for entry in rounds
    ]
    foundation = report.foundation_seconds
    total = sum(foundation.values()) + sum(sum(entry.seconds.values()) for entry in rounds)
    return {
        "stages": [STAGES.get(name, name) for name in stages],
        "rows": rows,
        "foundation": [(STAGES.get(name, name), duration(seconds)) for name, seconds in foundation.items()],
        "total": duration(total),
    }


def attempts_table(report: RunReport) -> list[dict[str, Any]]:
    """Return a row per failed attempt at a stage, in the run's order; none where every stage took one attempt."""
    return [
        {
            "stage": role,
            "number": number,
            "cause": failure.cause,
            "said": failure.said,
            "time": duration(failure.seconds),
        }
        for role, failures in (report.failed_attempts or {}).items()
        for number, failure in enumerate(failures, start=1)
    ]
