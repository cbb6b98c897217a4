"""From a run folder to a replicate: predictions of every arm in the run's last round, lesions, endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.artifacts.run_files import RunFiles, read_table
from engine.errors import DataError
from engine.study.contrasts import ARM
from engine.study.replicates import Endpoints, Part, Replicate
from engine.training.folds import with_groups
from engine.types import SPLITS, FloatArray, StrArray, strings

FINISHED = ("stop", "roll_back")
"""What a stopping policy says after the last round of a finished run."""


def last_round(report: Mapping[str, Any]) -> int | None:
    """Return the last round that trained the hard arm, None where none did."""
    return max((int(e["round"]) for e in report["rounds"] if e["arm"] == ARM), default=None)


def why_unread(run: RunFiles) -> str:
    """Say what a run folder lacks to compare its arms; "" where nothing is lacking."""
    number = last_round(run.report)
    if number is None:
        return "no round with the hard arm has finished"
    if run.split is None:
        return "split.parquet is not in the run folder"
    lost = [arm for arm in _arms(run, number) if not _predictions(run, number, arm).is_file()]
    return f"predictions of {', '.join(lost)} are not in the run folder" if lost else ""


def require_finished(run: RunFiles) -> None:
    """Raise DataError unless the run has ended and every arm of its config was trained in its last round."""
    stopping = run.report.get("stopping") or {}
    if stopping.get("action") not in FINISHED:
        raise DataError(
            f"{run.path}: has not finished ({stopping.get('reason') or 'no round yet'}); rerun `hardcase run`"
        )
    reason = why_unread(run)
    if reason:
        raise DataError(f"{run.path}: {reason}; rerun `hardcase run` to write it again")
    wanted = (run.config.get("loop") or {}).get("arms") or []
    absent = sorted(set(wanted) - set(_arms(run, last_round(run.report) or 0)))
    if absent:
        raise DataError(f"{run.path}: its last round lacks arm {', '.join(absent)}; rerun `hardcase run`")


def open_replicate(run: RunFiles, name: str | None = None) -> Replicate:
    """Read a run's last round.

    Raises:
        DataError: a file is missing or broken, or arms predict different images.
    """
    reason = why_unread(run)
    number = last_round(run.report)
    if reason or number is None or run.split is None:
        raise DataError(f"{run.path}: {reason}; rerun `hardcase run`")
    return replicate_of(
        {arm: read_table(_predictions(run, number, arm)) for arm in _arms(run, number)},
        run.split,
        run.config,
        name=name or run.path.resolve().name,
        protocol=str(run.report.get("protocol", "groups_unknown")),
        references=frozenset(
            str(e["arm"]) for e in run.report["rounds"] if e["round"] == number and e.get("reference")
        ),
    )


def replicate_of(
    frames: Mapping[str, pd.DataFrame],
    split: pd.DataFrame,
    config: Mapping[str, Any],
    *,
    name: str,
    protocol: str,
    references: frozenset[str] = frozenset(),
    scored: str = "test",
) -> Replicate:
    """Make a replicate of tables: predictions.parquet of each arm, split.parquet, and config.yaml's tree.

    ``scored`` is the part of the split that stands as test: ``val`` while settings are still chosen.

    Raises:
        DataError: arms predict other images or classes, the split lacks one of them, or a part was not predicted.
    """
    columns = [str(c) for c in next(iter(frames.values())).columns if str(c).startswith("p_")]
    lesions = with_groups(split)[["image_id", "lesion_id", "group"]]
    val, test = (_part(name, frames, columns, lesions, part) for part in ("val", scored))
    parts = _parts(split, config)
    return Replicate(
        name=name,
        seed=int((config.get("loop") or {}).get("seed", 0)),
        protocol=protocol,
        classes=tuple(c[2:] for c in columns),
        endpoints=endpoints_of(config),
        parts={**parts, "test": parts.get(scored, frozenset())},
        references=references,
        val=val,
        test=test,
    )


def endpoints_of(config: Mapping[str, Any]) -> Endpoints:
    """Read the malignant and melanoma classes and their operating points from config.yaml's tree."""
    found, data, section = Endpoints(malignant=()), config.get("data") or {}, config.get("evaluation") or {}
    known = {k: section[k] for k in ("specificity", "melanoma", "melanoma_sensitivity") if k in section}
    return replace(found, malignant=tuple(data.get("malignant") or ()), **known)


def _arms(run: RunFiles, number: int) -> list[str]:
    return [str(e["arm"]) for e in run.report["rounds"] if int(e["round"]) == number]


def _predictions(run: RunFiles, number: int, arm: str) -> Path:
    folder = run.path / "rounds" / f"{number:04d}"
    return (folder if arm == ARM else folder / "arms" / arm) / "predictions.parquet"


def _part(
    name: str,
    frames: Mapping[str, pd.DataFrame],
    columns: Sequence[str],
    lesions: pd.DataFrame,
    part: str,
) -> Part:
    """Rows of one part in the order of image ids, the same in every arm."""
    order: StrArray | None = None
    prob: dict[str, FloatArray] = {}
    for arm, frame in frames.items():
        if [c for c in frame.columns if str(c).startswith("p_")] != list(columns):
            raise DataError(f"{name}: arm {arm} predicts other classes than the rest; rerun `hardcase run`")
        rows = frame[frame["split"] == part].merge(lesions, on="image_id", how="left").sort_values("image_id")
        ids = strings(rows["image_id"].tolist())
        if order is not None and ids.tolist() != order.tolist():
            raise DataError(
                f"{name}: arm {arm} predicts other {part} images than the rest; rerun `hardcase run`"
            )
        order = ids
        prob[arm] = rows[list(columns)].to_numpy(dtype=np.float64)
    if rows["lesion_id"].isna().any():
        raise DataError(f"{name}: split.parquet lacks images that were predicted; rerun `hardcase run`")
    index = {name[2:]: position for position, name in enumerate(columns)}
    return Part(
        image_id=ids,
        lesion_id=strings(rows["lesion_id"].tolist()),
        group_N=strings(rows["group"].tolist()),
        label_N=np.array([index[str(dx)] for dx in rows["dx"]], dtype=np.int64),
        prob=prob,
    )  # fmt: skip


def _parts(split: pd.DataFrame, config: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Lesions of each part; train images outside the classifier's own training sets are the part ``pool``."""
    part = split["split"].astype(str)
    sets = ((config.get("data") or {}).get("split") or {}).get("train_sets")
    if sets and "train_set" in split.columns:
        own = split["train_set"].isin(sets.get("use") or [])
        part = part.where((part != "train") | own, "pool")
    return {
        name: frozenset(split["lesion_id"][part == name].astype(str))
        for name in (*SPLITS, "pool")
        if (part == name).any()
    }
