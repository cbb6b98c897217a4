"""Stage ``evaluate``: calibrated predictions -> report.json {val, test, p_value_vs_round0}.

With the input ``challenging``, test holds two objects more, ``challenging`` and ``rest``: the lesions that independent
reference models get wrong, and the others. ``test.subgroups`` has sensitivity and specificity by sex, age band, site and
skin type.

Nothing is fitted here: temperature and operating point come from calibration.json, where ``predict`` fixed them
on val. The bootstrap draws of a split depend on the seed alone, so arms and rounds are resampled alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.errors import DataError
from engine.evaluation.scoring import ScoredSplit, null_split, score_split
from engine.evaluation.statistics import paired_p_value
from engine.evaluation.subgroups import age_bands, subgroup_figures
from engine.parts.dataset import read_table
from engine.stages.base import StageContext
from engine.training.folds import with_groups
from engine.training.plan import derive_seed
from engine.types import Predictions, StrArray, strings


def run(context: StageContext) -> None:
    """Write report.json; a split without images gets null figures (external data has only test).

    Raises:
        DataError: predictions and split disagree on the images, or a diagnosis is unknown to the classifier.
    """
    folder = context.inputs["predictions"]
    calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    predictions = read_predictions(folder / "predictions.parquet")
    lesions = _lesions(predictions.image_id, context.inputs["split"] / "split.parquet")
    report: dict[str, Any] = {}
    for part in ("val", "test"):
        context.progress("evaluate", len(report), 2)
        rows = np.flatnonzero(predictions.split == part)
        report[part] = _score(predictions.take(rows), lesions.iloc[rows], calibration, context, part)
    if "challenging" in context.inputs:
        report["test"] |= _by_difficulty(predictions, lesions, calibration, context)
    report["test"]["subgroups"] = _by_person(predictions, lesions, calibration, context)
    report["p_value_vs_round0"] = _p_value(predictions, lesions, context)
    text = json.dumps(report, indent=1, allow_nan=False)
    (context.out / "report.json").write_text(text + "\n", encoding="utf-8")


def read_predictions(path: Path) -> Predictions:
    """Read predictions.parquet (image_id, split, dx, p_<dx>...); the columns' order is the classes'.

    Raises:
        DataError: an image's dx has no column of probabilities, or a probability is missing.
    """
    frame = pd.read_parquet(path)
    classes = tuple(str(c)[2:] for c in frame.columns if str(c).startswith("p_"))
    index = {name: position for position, name in enumerate(classes)}
    dx = strings(frame["dx"].tolist())
    unknown = sorted({str(name) for name in dx} - set(classes))
    if unknown:
        raise DataError(
            f"{path.name}: the classifier knows {', '.join(classes)}, not {', '.join(unknown)}; "
            "rename or drop these with data.map_labels"
        )
    prob_NC = frame[[f"p_{name}" for name in classes]].to_numpy(dtype=np.float64)
    if not np.isfinite(prob_NC).all():
        row = int(np.flatnonzero(~np.isfinite(prob_NC).all(axis=1))[0])
        raise DataError(
            f"{path.name}: image_id {frame['image_id'].iloc[row]} has a probability that is no number"
        )
    return Predictions(
        image_id=strings(frame["image_id"].tolist()),
        classes=classes,
        prob_NC=prob_NC,
        label_N=np.array([index[str(name)] for name in dx], dtype=np.int64),
        split=strings(frame["split"].tolist()),
    )


def _lesions(image_id: StrArray, path: Path) -> pd.DataFrame:
    """Lesion (``lesion_id``) of each predicted image, and what it is drawn with (``group``), from split.parquet."""
    frame = with_groups(pd.read_parquet(path)).set_index("image_id")[["lesion_id", "group"]]
    names = image_id.tolist()
    absent = [name for name in names if name not in frame.index]
    if absent:
        raise DataError(
            f"{path.name} lacks image_id {absent[0]} that was predicted ({len(absent)} in all); rerun predict"
        )
    return frame.loc[names]


def _score(
    predictions: Predictions,
    lesions: pd.DataFrame,
    calibration: dict[str, Any],
    context: StageContext,
    part: str,
) -> dict[str, Any]:
    if len(predictions) == 0:
        return null_split(predictions.classes)
    split = _split(predictions, lesions, calibration, context)
    rng = np.random.default_rng(derive_seed(context.seed, "evaluate", "bootstrap", part))
    return score_split(split, draws=int(context.params["evaluation"]["bootstrap"]), rng=rng)


def _split(
    predictions: Predictions, lesions: pd.DataFrame, calibration: dict[str, Any], context: StageContext
) -> ScoredSplit:
    return ScoredSplit(
        prob_NC=predictions.prob_NC,
        label_N=predictions.label_N,
        lesion_id=strings(lesions["lesion_id"].tolist()),
        group_N=strings(lesions["group"].tolist()),
        classes=predictions.classes,
        malignant=tuple(context.params["malignant"]),
        threshold=calibration.get("threshold"),
        specificity=float(context.params["evaluation"]["specificity"]),
        melanoma=calibration.get("melanoma"),
        melanoma_threshold=calibration.get("melanoma_threshold"),
    )


def _by_person(
    predictions: Predictions, lesions: pd.DataFrame, calibration: dict[str, Any], context: StageContext
) -> dict[str, Any]:
    """Test figures by what the data set says of the person and the place; null where it says nothing."""
    table = read_table(context.inputs["images"] / "table.parquet")
    at = {str(image): row for row, image in enumerate(table.image_id)}
    rows = np.flatnonzero(predictions.split == "test")
    own = table.take(np.array([at[str(image)] for image in predictions.image_id[rows]], dtype=np.int64))
    columns = {
        "sex": own.sex,
        "age": age_bands(own.age),
        "site": own.localization,
        "skin_type": own.skin_type,
    }
    return subgroup_figures(
        _split(predictions.take(rows), lesions.iloc[rows], calibration, context),
        columns,
        draws=int(context.params["evaluation"]["bootstrap"]),
        rng=np.random.default_rng(derive_seed(context.seed, "evaluate", "subgroups")),
    )


def _by_difficulty(
    predictions: Predictions, lesions: pd.DataFrame, calibration: dict[str, Any], context: StageContext
) -> dict[str, Any]:
    """Figures of the test lesions that the reference models all get wrong (``challenging``), and of the ``rest``."""
    frame = pd.read_parquet(context.inputs["challenging"] / "challenging.parquet")
    hard = set(frame["image_id"][frame["challenging"]])
    listed = set(frame["image_id"])
    found = {}
    for name, wanted in (("challenging", hard), ("rest", listed - hard)):
        rows = np.flatnonzero([str(image) in wanted for image in predictions.image_id])
        figures = _score(predictions.take(rows), lesions.iloc[rows], calibration, context, name)
        found[name] = {
            key: figures[key] for key in ("n", "n_lesions", "accuracy", "balanced_accuracy", "malignant")
        }
    return found


def _p_value(predictions: Predictions, lesions: pd.DataFrame, context: StageContext) -> float | None:
    """Paired test against round 0 on test; None for round 0 itself (no reference, or the same folder)."""
    folder = context.inputs.get("reference")
    if folder is None or folder == context.inputs["predictions"]:
        return None
    reference = read_predictions(folder / "predictions.parquet")
    here, there = (p.take(np.flatnonzero(p.split == "test")) for p in (predictions, reference))
    position = {str(name): row for row, name in enumerate(there.image_id)}
    if set(position) != {str(name) for name in here.image_id}:
        raise DataError(
            "predictions.parquet of round 0 and of this round hold different test images; rerun predict"
        )
    there = there.take(np.array([position[str(name)] for name in here.image_id], dtype=np.int64))
    return paired_p_value(
        here.predicted_N == here.label_N,
        there.predicted_N == there.label_N,
        strings(lesions["group"][predictions.split == "test"].tolist()),
        np.random.default_rng(derive_seed(context.seed, "evaluate", "paired")),
    )
