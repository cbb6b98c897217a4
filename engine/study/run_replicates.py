"""From a run folder to a replicate: predictions of every arm and seed in the run's last round, lesions, endpoints.

The first seed's predictions lie in the folder of (round, arm), those of a further seed in its folder ``seed_<s>``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.artifacts import predictions
from engine.artifacts.run_files import RunFiles
from engine.artifacts.run_layout import arm_label
from engine.artifacts.split import SplitTable
from engine.errors import DataError
from engine.study.contrasts import ARM
from engine.study.pools import added_of, pools_of
from engine.study.replicates import Endpoints, Part, Replicate
from engine.types import SPLITS, FloatArray, Predictions, StrArray

SEED_FOLDER: Final = "seed_"
"""How the folder of a further classifier seed begins, inside that of its (round, arm)."""


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
    if lost:
        return f"predictions of {', '.join(lost)} are not in the run folder"
    return _why_seeds_differ(run, number)


def further_seeds(folder: Path) -> list[int]:
    """Return the further classifier seeds whose predictions lie in the folder of a (round, arm), by rising seed."""
    names = (path.name.removeprefix(SEED_FOLDER) for path in folder.glob(f"{SEED_FOLDER}*"))
    found = sorted(int(name) for name in names if name.isdecimal())
    return [seed for seed in found if predictions.SCHEMA.present(folder / f"{SEED_FOLDER}{seed}")]


def _why_seeds_differ(run: RunFiles, number: int) -> str:
    """Say which arm lacks a classifier seed that another arm, or the config, has; "" where none does."""
    found = {arm: further_seeds(run.layout.arm_folder(number, arm)) for arm in _arms(run, number)}
    planned = (run.config.get("loop") or {}).get("seeds") or []
    wanted = max([*map(len, found.values()), len(planned) - 1])
    every = {seed for seeds in found.values() for seed in seeds}
    short = [arm for arm, seeds in found.items() if len(seeds) < wanted or set(seeds) != every]
    return (
        f"predictions of some classifier seeds of {', '.join(short)} are not in the run folder"
        if short
        else ""
    )


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
    folders = {arm: run.layout.arm_folder(number, arm) for arm in _arms(run, number)}
    found = _read(run, run.split, folders, name or run.path.resolve().name)
    references = frozenset(entry.arm for entry in run.report.of_round(number) if entry.reference)
    entry = run.report.entry(number, ARM)
    return replace(
        found,
        references=references,
        pools=pools_of(run.report, number),
        added=added_of(run.report, number),
        generator_saw=entry.generator_saw if entry is not None else "",
    )


def open_entries(run: RunFiles, entries: Sequence[tuple[int, str]]) -> Replicate:
    """Read any (round, arm) of a run; in the replicate they are called as ``arm_label`` does: ``0001/hard``.

    Raises:
        DataError: a file is missing or broken, or two of them predict other images.
    """
    if run.split is None:
        raise DataError(
            f"{run.path}: split.parquet is not in the run folder; rerun `hardcase run` to write it again"
        )
    folders = {arm_label(number, arm): run.layout.arm_folder(number, arm) for number, arm in entries}
    return _read(run, run.split, folders, run.path.resolve().name)


def replicate_of(
    predicted: Mapping[str, Predictions],
    split: SplitTable,
    config: Mapping[str, Any],
    *,
    name: str,
    protocol: str,
    references: frozenset[str] = frozenset(),
    scored: str = "test",
    further: Mapping[str, Sequence[Predictions]] | None = None,
) -> Replicate:
    """Make a replicate of each arm's predictions, the split, and config.yaml's tree.

    ``scored`` is the part of the split that stands as test: ``val`` while settings are still chosen. ``further`` holds
    the predictions of an arm's further classifier seeds, as many of each arm.

    Raises:
        DataError: arms or seeds predict other images or classes, the split lacks one of them, or a part was not predicted.
    """
    val, test = (_part(name, predicted, further or {}, split, part) for part in ("val", scored))
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
        whole=is_whole(parts, config),
    )


def _read(run: RunFiles, split: SplitTable, folders: Mapping[str, Path], name: str) -> Replicate:
    """Read the predictions of every folder, those of further classifier seeds too."""
    return replicate_of(
        {arm: predictions.read(folder) for arm, folder in folders.items()},
        split,
        run.config,
        name=name,
        protocol=run.report.protocol,
        further={
            arm: [predictions.read(folder / f"{SEED_FOLDER}{seed}") for seed in further_seeds(folder)]
            for arm, folder in folders.items()
        },
    )


def endpoints_of(config: Mapping[str, Any]) -> Endpoints:
    """Read the malignant and melanoma classes, their operating points and the planned figures from config.yaml's tree."""
    found, data, section = Endpoints(malignant=()), config.get("data") or {}, config.get("evaluation") or {}
    known = {k: section[k] for k in ("specificity", "melanoma", "melanoma_sensitivity") if k in section}
    if section.get("primary"):  # absent: the run was made before the key, and planned on the endpoint of then
        known["primary"] = tuple(section["primary"])
    return replace(found, malignant=tuple(data.get("malignant") or ()), **known)


def _arms(run: RunFiles, number: int) -> list[str]:
    return [entry.arm for entry in run.report.of_round(number)]


def _part(
    name: str,
    predicted: Mapping[str, Predictions],
    further: Mapping[str, Sequence[Predictions]],
    split: SplitTable,
    part: str,
) -> Part:
    """Rows of one part in the order of image ids, the same in every arm and seed."""
    classes = next(iter(predicted.values())).classes
    order: StrArray | None = None
    prob: dict[str, list[FloatArray]] = {arm: [] for arm in predicted}
    every = [(arm, found) for arm in predicted for found in (predicted[arm], *further.get(arm, ()))]
    for arm, found in every:
        if found.classes != classes:
            raise DataError(f"{name}: arm {arm} predicts other classes than the rest; rerun `hardcase run`")
        rows = np.flatnonzero(found.split == part)
        taken = found.take(rows[np.argsort(found.image_id[rows], kind="stable")])
        if order is not None and taken.image_id.tolist() != order.tolist():
            raise DataError(
                f"{name}: arm {arm} predicts other {part} images than the rest; rerun `hardcase run`"
            )
        order = taken.image_id
        prob[arm].append(taken.prob_NC)
    known = np.isin(taken.image_id, split.image_id)
    if not known.all():
        raise DataError(f"{name}: split.parquet lacks images that were predicted; rerun `hardcase run`")
    lesions = split.find(taken.image_id)
    return Part(
        image_id=taken.image_id,
        lesion_id=lesions.lesion_id,
        group_N=lesions.group_N,
        label_N=taken.label_N,
        prob={arm: many[0] for arm, many in prob.items()},
        further={arm: tuple(many[1:]) for arm, many in prob.items() if len(many) > 1},
    )


def is_whole(parts: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these parts of a run's split hold every lesion of its data; other training sets may be left out of it."""
    sets = ((config.get("data") or {}).get("split") or {}).get("train_sets")
    return not sets or "pool" in parts


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
