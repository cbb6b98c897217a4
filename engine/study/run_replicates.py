"""From a run folder to a replicate: predictions of every arm in the run's last round, lesions, endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine.artifacts import predictions
from engine.artifacts.run_files import RunFiles
from engine.artifacts.split import SplitTable
from engine.errors import DataError
from engine.study.contrasts import ARM
from engine.study.replicates import Endpoints, Part, Replicate
from engine.types import SPLITS, FloatArray, Predictions, StrArray


def why_unread(run: RunFiles) -> str:
    """Say what a run folder lacks to compare its arms; "" where nothing is lacking."""
    number = run.report.last_round(ARM)
    if number is None:
        return "no round with the hard arm has finished"
    if run.split is None:
        return "split.parquet is not in the run folder"
    layout = run.layout
    lost = [
        arm for arm in _arms(run, number) if not predictions.SCHEMA.present(layout.arm_folder(number, arm))
    ]
    return f"predictions of {', '.join(lost)} are not in the run folder" if lost else ""


def require_finished(run: RunFiles) -> None:
    """Raise DataError unless the run has ended and every arm of its config was trained in its last round."""
    if not run.report.finished:
        raise DataError(
            f"{run.path}: has not finished ({run.report.stopping.reason or 'no round yet'}); rerun `hardcase run`"
        )
    reason = why_unread(run)
    if reason:
        raise DataError(f"{run.path}: {reason}; rerun `hardcase run` to write it again")
    wanted = (run.config.get("loop") or {}).get("arms") or []
    absent = sorted(set(wanted) - set(_arms(run, run.report.last_round(ARM) or 0)))
    if absent:
        raise DataError(f"{run.path}: its last round lacks arm {', '.join(absent)}; rerun `hardcase run`")


def open_replicate(run: RunFiles, name: str | None = None) -> Replicate:
    """Read a run's last round.

    Raises:
        DataError: a file is missing or broken, or arms predict different images.
    """
    reason = why_unread(run)
    number = run.report.last_round(ARM)
    if reason or number is None or run.split is None:
        raise DataError(f"{run.path}: {reason}; rerun `hardcase run`")
    return replicate_of(
        {arm: predictions.read(run.layout.arm_folder(number, arm)) for arm in _arms(run, number)},
        run.split,
        run.config,
        name=name or run.path.resolve().name,
        protocol=run.report.protocol,
        references=frozenset(entry.arm for entry in run.report.of_round(number) if entry.reference),
    )


def replicate_of(
    predicted: Mapping[str, Predictions],
    split: SplitTable,
    config: Mapping[str, Any],
    *,
    name: str,
    protocol: str,
    references: frozenset[str] = frozenset(),
    scored: str = "test",
) -> Replicate:
    """Make a replicate of each arm's predictions, the split, and config.yaml's tree.

    ``scored`` is the part of the split that stands as test: ``val`` while settings are still chosen.

    Raises:
        DataError: arms predict other images or classes, the split lacks one of them, or a part was not predicted.
    """
    val, test = (_part(name, predicted, split, part) for part in ("val", scored))
    parts = _parts(split, config)
    return Replicate(
        name=name,
        seed=int((config.get("loop") or {}).get("seed", 0)),
        protocol=protocol,
        classes=next(iter(predicted.values())).classes,
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
    return [entry.arm for entry in run.report.of_round(number)]


def _part(name: str, predicted: Mapping[str, Predictions], split: SplitTable, part: str) -> Part:
    """Rows of one part in the order of image ids, the same in every arm."""
    classes = next(iter(predicted.values())).classes
    order: StrArray | None = None
    prob: dict[str, FloatArray] = {}
    for arm, found in predicted.items():
        if found.classes != classes:
            raise DataError(f"{name}: arm {arm} predicts other classes than the rest; rerun `hardcase run`")
        rows = np.flatnonzero(found.split == part)
        taken = found.take(rows[np.argsort(found.image_id[rows], kind="stable")])
        if order is not None and taken.image_id.tolist() != order.tolist():
            raise DataError(
                f"{name}: arm {arm} predicts other {part} images than the rest; rerun `hardcase run`"
            )
        order = taken.image_id
        prob[arm] = taken.prob_NC
    known = np.isin(taken.image_id, split.image_id)
    if not known.all():
        raise DataError(f"{name}: split.parquet lacks images that were predicted; rerun `hardcase run`")
    lesions = split.find(taken.image_id)
    return Part(
        image_id=taken.image_id,
        lesion_id=lesions.lesion_id,
        group_N=lesions.group_N,
        label_N=taken.label_N,
        prob=prob,
    )


def _parts(split: SplitTable, config: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Lesions of each part; train images outside the classifier's own training sets are the part ``pool``."""
    part = split.split
    sets = ((config.get("data") or {}).get("split") or {}).get("train_sets")
    if sets and split.train_set_N is not None:
        other = (part == "train") & ~split.own(sets.get("use") or [])
        part = np.where(other, "pool", part)
    return {
        name: frozenset(split.lesion_id[part == name].tolist())
        for name in (*SPLITS, "pool")
        if (part == name).any()
    }
