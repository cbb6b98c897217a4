"""Stage ``evaluate``: calibrated predictions -> report.json {val, test, p_value_vs_round0}.

With the input ``challenging``, test holds two objects more, ``challenging`` and ``rest``: the lesions that independent
reference models get wrong, and the others. ``test.subgroups`` has sensitivity and specificity by sex, age band, site and
skin type.

Nothing is fitted here: temperature and operating point come from calibration.json, where ``predict`` fixed them
on val. The bootstrap draws of a split depend on the seed alone, so arms and rounds are resampled alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from engine.config import Config
from engine.errors import DataError
from engine.evaluation.scoring import ScoredSplit, null_split, score_split
from engine.evaluation.statistics import paired_p_value
from engine.evaluation.subgroups import age_bands, subgroup_figures
from engine.parts.context import StageContext
from engine.parts.dataset import read_table
from engine.parts.predictions import read_predictions
from engine.stages import base
from engine.training.folds import with_groups
from engine.training.plan import derive_seed
from engine.types import IntArray, Predictions, StrArray, strings


class Intervals(BaseModel):
    """How intervals are drawn, and the specificity of the descriptive operating point."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: int
    specificity: float


class Params(base.Params):
    """How figures are made, and which classes are malignant."""

    evaluation: Intervals
    malignant: list[str]

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return how a run of ``config`` scores."""
        section = config.evaluation
        intervals = Intervals(bootstrap=section.bootstrap, specificity=section.specificity)
        return cls(evaluation=intervals, malignant=config.data.malignant)


def run(context: StageContext, params: Params) -> None:
    """Write report.json; a split without images gets null figures (external data has only test).

    Raises:
        DataError: predictions and split disagree on the images, or a diagnosis is unknown to the classifier.
    """
    folder = context.inputs["predictions"]
    predictions = read_predictions(folder / "predictions.parquet")
    task = Task(
        context=context,
        params=params,
        predictions=predictions,
        lesions=_lesions(predictions.image_id, context.inputs["split"] / "split.parquet"),
        calibration=json.loads((folder / "calibration.json").read_text(encoding="utf-8")),
    )
    report: dict[str, Any] = {}
    done, total = 0, len(task.rows("val")) + len(task.rows("test"))
    for part in ("val", "test"):
        report[part] = task.score(task.rows(part), part)
        done += len(task.rows(part))
        context.progress("evaluate", base.Sizes.chunks(done), base.Sizes.chunks(total))
    if "challenging" in context.inputs:
        report["test"] |= _by_difficulty(task)
    report["test"]["subgroups"] = _by_person(task)
    report["p_value_vs_round0"] = _p_value(task)
    text = json.dumps(report, indent=1, allow_nan=False)
    (context.out / "report.json").write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is scored: calibrated predictions, the lesion and group of each image, and how."""

    context: StageContext
    params: Params
    predictions: Predictions
    lesions: pd.DataFrame
    calibration: Mapping[str, Any]

    def rows(self, part: str) -> IntArray:
        """Return the rows of one part."""
        return np.flatnonzero(self.predictions.split == part).astype(np.int64)

    def rng(self, *names: str) -> np.random.Generator:
        """Return the generator of one use; it depends on the seed and the use alone."""
        return np.random.default_rng(derive_seed(self.context.seed, "evaluate", *names))

    def score(self, rows: IntArray, name: str) -> dict[str, Any]:
        """Return the metric object of some rows; ``name`` picks the bootstrap draws."""
        if len(rows) == 0:
            return null_split(self.predictions.classes)
        draws = self.params.evaluation.bootstrap
        return score_split(self.split(rows), draws=draws, rng=self.rng("bootstrap", name))

    def split(self, rows: IntArray) -> ScoredSplit:
        """Return some rows as ``score_split`` takes them."""
        predictions, lesions = self.predictions.take(rows), self.lesions.iloc[rows]
        return ScoredSplit(
            prob_NC=predictions.prob_NC,
            label_N=predictions.label_N,
            lesion_id=strings(lesions["lesion_id"].tolist()),
            group_N=strings(lesions["group"].tolist()),
            classes=predictions.classes,
            malignant=tuple(self.params.malignant),
            threshold=self.calibration.get("threshold"),
            specificity=self.params.evaluation.specificity,
            melanoma=self.calibration.get("melanoma"),
            melanoma_threshold=self.calibration.get("melanoma_threshold"),
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


def _by_person(task: Task) -> dict[str, Any]:
    """Test figures by what the data set says of the person and the place; null where it says nothing."""
    table = read_table(task.context.inputs["images"] / "table.parquet")
    at = {str(image): row for row, image in enumerate(table.image_id)}
    rows = task.rows("test")
    image_id = task.predictions.image_id[rows]
    own = table.take(np.array([at[str(image)] for image in image_id], dtype=np.int64))
    columns = {
        "sex": own.sex,
        "age": age_bands(own.age),
        "site": own.localization,
        "skin_type": own.skin_type,
    }
    draws = task.params.evaluation.bootstrap
    return subgroup_figures(task.split(rows), columns, draws=draws, rng=task.rng("subgroups"))


def _by_difficulty(task: Task) -> dict[str, Any]:
    """Figures of the test lesions that the reference models all get wrong (``challenging``), and of the ``rest``."""
    frame = pd.read_parquet(task.context.inputs["challenging"] / "challenging.parquet")
    hard = set(frame["image_id"][frame["challenging"]])
    listed = set(frame["image_id"])
    found = {}
    for name, wanted in (("challenging", hard), ("rest", listed - hard)):
        among = [str(image) in wanted for image in task.predictions.image_id]
        figures = task.score(np.flatnonzero(among).astype(np.int64), name)
        found[name] = {
            key: figures[key] for key in ("n", "n_lesions", "accuracy", "balanced_accuracy", "malignant")
        }
    return found


def _p_value(task: Task) -> float | None:
    """Paired test against round 0 on test; None for round 0 itself (no reference, or the same folder)."""
    inputs = task.context.inputs
    folder = inputs.get("reference")
    if folder is None or folder == inputs["predictions"]:
        return None
    reference = read_predictions(folder / "predictions.parquet")
    here = task.predictions.take(task.rows("test"))
    there = reference.take(np.flatnonzero(reference.split == "test"))
    position = {str(name): row for row, name in enumerate(there.image_id)}
    if set(position) != {str(name) for name in here.image_id}:
        raise DataError(
            "predictions.parquet of round 0 and of this round hold different test images; rerun predict"
        )
    there = there.take(np.array([position[str(name)] for name in here.image_id], dtype=np.int64))
    return paired_p_value(
        here.predicted_N == here.label_N,
        there.predicted_N == there.label_N,
        strings(task.lesions["group"].iloc[task.rows("test")].tolist()),
        task.rng("paired"),
    )


STAGE = base.Stage(
    name="evaluate",
    version=3,
    params=Params,
    run=run,
    inputs=("images", "split", "predictions"),
    optional=("reference", "challenging"),
    units=lambda _params, sizes: sizes.chunks(sizes.held),
    files={
        "report.json": "val, test, p_value_vs_round0; test has subgroups, and the challenging lesions and the rest"
    },
)
