"""The rows of an exported run: what the run knows of each real and each synthetic image, typed.

Shape legend: S synthetic images, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.arms import ENGINE
from engine.artifacts import champion, predictions, synthetic
from engine.artifacts.predictions import PREFIX
from engine.artifacts.run_layout import arm_role
from engine.errors import DamagedError, DataError
from engine.parts.dataset import Dataset
from engine.parts.soft_labels import SoftLabels, judged_samples
from engine.store import RunFolder
from engine.types import LesionTable, Predictions

PERSON: Final = ("age", "sex", "localization", "skin_type", "patient_id")
OUT_OF_FOLD: Final = "out of fold, temperature 1"
KINDS: Final = {
    "image_id": pa.string(),
    "lesion_id": pa.string(),
    "dx": pa.string(),
    "split": pa.string(),
    "origin": pa.string(),
    "synthetic": pa.bool_(),
    "age": pa.float64(),
    "sex": pa.string(),
    "localization": pa.string(),
    "skin_type": pa.string(),
    "patient_id": pa.string(),
    "round": pa.int64(),
    "arm": pa.string(),
    "parent_image_id": pa.string(),
    "neighbour_ids": pa.list_(pa.string()),
    "weights": pa.list_(pa.float64()),
    "seed": pa.int64(),
    "difficulty": pa.float64(),
    "accepted": pa.bool_(),
    "reasons": pa.string(),
    "judge_p": pa.float64(),
    "judge_predicted": pa.string(),
    "judge_prob": pa.list_(pa.float64()),
    "nearest_train_id": pa.string(),
    "nearest_train_distance": pa.float64(),
    "value": pa.float64(),
    "soft_label": pa.list_(pa.float64()),
    "loss_weight": pa.float64(),
    "policy": pa.string(),
    "checkpoint": pa.string(),
    "predicted_by": pa.string(),
    "predicted": pa.string(),
}  # fmt: skip
"""Columns of the table before p_<dx>; null is unknown, or not of this kind of image."""


def typed(frame: pd.DataFrame, classes: tuple[str, ...]) -> pa.Table:
    """Return the rows with a type per column; unknown text is null, as an unknown number is."""
    kinds = KINDS | {f"{PREFIX}{dx}": pa.float64() for dx in classes}
    columns = {name: _cells(frame[name]) if name in frame else [None] * len(frame) for name in kinds}
    return pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items()})


def _cells(column: pd.Series) -> list[Any]:
    """Return a column's cells, None for "", NaN and what pandas calls absent."""
    return [None if _unknown(cell) else cell for cell in column]


def _unknown(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell
    return cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell))


def real_rows(folder: RunFolder, dataset: Dataset) -> pd.DataFrame:
    """Return a row per image of the data set, with the probabilities that are honest of it."""
    table = dataset.table
    frame = pd.DataFrame(
        {
            "lesion_id": _lesions_of(table),
            **{name: getattr(table, name) for name in ("image_id", "dx", "split", *PERSON)},
            "origin": table.origin,
            "synthetic": table.origin == "synthetic",
        }
    )
    known = pd.concat([_probabilities(*found) for found in _classified(folder, dataset)] or [pd.DataFrame()])
    return frame if known.empty else frame.merge(known, on="image_id", how="left", validate="1:1")


def _classified(folder: RunFolder, dataset: Dataset) -> Iterator[tuple[Predictions, str]]:
    """Yield predictions of images that their classifier did not train on, and by whom: the champion's, out-of-fold ones."""
    crowned = champion.read_if_crowned(folder.path)
    if crowned is not None:
        found = predictions.read(folder.arm_folder(crowned.round, crowned.arm), dataset.classes)
        yield found.take(np.isin(found.split, ["val", "test"])), f"round {crowned.round} {crowned.arm}"
    for number in reversed(folder.layout.round_numbers()):
        role = arm_role(number, ENGINE, "crossfit")
        if role not in folder.roles:
            continue
        try:
            place = folder.stage(role).path
        except DamagedError:
            raise
        except DataError:  # the cache of this stage was removed
            return
        yield predictions.read(place, dataset.classes), f"round {number}, {OUT_OF_FOLD}"
        return


def _probabilities(found: Predictions, by: str) -> pd.DataFrame:
    frame = predictions.frame_of(found).drop(columns=["split", "dx"])
    names = np.array(found.classes, dtype=np.str_)
    return frame.assign(predicted_by=by, predicted=names[found.prob_NC.argmax(axis=1)])


def synthetic_rows(folder: RunFolder, dataset: Dataset, *, rejected: bool) -> pd.DataFrame:
    """Return the rows of every round's synthetic.parquet with what an export adds, and ``path``, the picture's file."""
    frames = [pd.DataFrame({name: [] for name in ("image_id", "path")}, dtype=object)]
    for number in folder.layout.round_numbers():
        home = folder.layout.round_folder(number)
        if synthetic.SCHEMA.present(home):
            frames.append(_round_rows(folder, dataset, number, rejected=rejected))
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)


def _round_rows(folder: RunFolder, dataset: Dataset, number: int, *, rejected: bool) -> pd.DataFrame:
    home = folder.layout.round_folder(number)
    frame = synthetic.read_frame(home)
    taught = SoftLabels.of(folder.config, ENGINE)
    if taught is not None and taught.soft:
        intended = dataset.indices(frame["dx"].to_numpy(dtype=np.str_))
        soft_SC = taught.labels(judged_samples(home, dataset.classes), intended)
        frame = frame.assign(soft_label=list(soft_SC))
    frame = frame if rejected else frame[frame["accepted"]]
    parents = dataset.table.take(dataset.positions(frame["parent_image_id"].to_numpy(dtype=np.str_)))
    return frame.assign(
        image_id=frame["sample_id"],
        lesion_id=_lesions_of(parents),
        **{name: getattr(parents, name) for name in PERSON},
        split="train",
        origin="synthetic",
        synthetic=True,
        round=number,
        arm=ENGINE,
        loss_weight=1.0 if taught is None else taught.weight,
        path=[home / synthetic.picture(name) for name in frame["sample_id"]],
    )


def _lesions_of(table: LesionTable) -> list[str]:
    """Return each image's lesion, or its own name where lesions are unknown (HAM10000's layout wants one)."""
    return [str(lesion) or str(image) for lesion, image in zip(table.lesion_id, table.image_id, strict=True)]
