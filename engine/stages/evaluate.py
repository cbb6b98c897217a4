"""Stage ``evaluate``: calibrated predictions -> report.json {val, test, p_value_vs_round0}.

With the input ``challenging``, test holds two objects more, ``challenging`` and ``rest``: the lesions that independent
reference models get wrong, and the others. ``test.subgroups`` has sensitivity and specificity by sex, age band, site and
skin type.

Nothing is fitted here: temperature and operating point come from calibration.json, where ``predict`` fixed them
on val. With inputs ``seed_#``, predictions of further classifier seeds, figures are means over them. The bootstrap draws
of a split depend on the seed alone, so arms and rounds are resampled alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from engine.artifacts import calibration as calibration_file
from engine.artifacts import challenging as challenging_file
from engine.artifacts import lesions, scores
from engine.artifacts import predictions as predictions_file
from engine.artifacts import split as split_file
from engine.artifacts.calibration import Calibration
from engine.artifacts.scores import Scores
from engine.artifacts.split import SplitTable
from engine.config import Config
from engine.errors import DataError
from engine.evaluation.scoring import ScoredSplit, null_split, score_seeds
from engine.evaluation.statistics import paired_p_value
from engine.evaluation.subgroups import age_bands, subgroup_figures
from engine.parts.context import StageContext, numbered
from engine.stages import base
from engine.training.plan import derive_seed
from engine.types import IntArray, Predictions


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
    folders = [context.inputs["predictions"], *numbered(context.inputs, "seed")]
    predictions = predictions_file.read(folders[0])
    further = [predictions_file.read(folder) for folder in folders[1:]]
    task = Task(
        context=context,
        params=params,
        seeds=(
            predictions,
            *(predictions_file.find(p, predictions.image_id, "another seed") for p in further),
        ),
        lesions=split_file.read(context.inputs["split"]).find(predictions.image_id),
        calibrations=tuple(calibration_file.read(folder) for folder in folders),
    )
    figures: dict[str, Any] = {}
    spreads: dict[str, Any] = {}
    done, total = 0, len(task.rows("val")) + len(task.rows("test"))
    for part in ("val", "test"):
        figures[part], points = task.score_each(task.rows(part), part)
        spreads[part] = spread(points)
        done += len(task.rows(part))
        context.progress("evaluate", base.Sizes.chunks(done), base.Sizes.chunks(total))
    if "challenging" in context.inputs:
        figures["test"] |= _by_difficulty(task)
    figures["test"]["subgroups"] = _by_person(task)
    more = {"seeds": spreads} if further else {}
    scores.write(Scores(**figures, p_value_vs_round0=_p_value(task), **more), context.out)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is scored: calibrated predictions per seed, of the same images; their lesions and groups; and how."""

    context: StageContext
    params: Params
    seeds: tuple[Predictions, ...]
    lesions: SplitTable
    calibrations: tuple[Calibration, ...]

    @property
    def predictions(self) -> Predictions:
        """The first seed's."""
        return self.seeds[0]

    def rows(self, part: str) -> IntArray:
        """Return the rows of one part."""
        return np.flatnonzero(self.predictions.split == part).astype(np.int64)

    def rng(self, *names: str) -> np.random.Generator:
        """Return the generator of one use; it depends on the seed and the use alone."""
        return np.random.default_rng(derive_seed(self.context.seed, "evaluate", *names))

    def score(self, rows: IntArray, name: str) -> dict[str, Any]:
        """Return the metric object of some rows; ``name`` picks the bootstrap draws."""
        return self.score_each(rows, name)[0]

    def score_each(self, rows: IntArray, name: str) -> tuple[dict[str, Any], list[dict[str, float]]]:
        """Return the same, and every seed's figures by dotted name; of no rows, none."""
        if len(rows) == 0:
            return null_split(self.predictions.classes), []
        draws = self.params.evaluation.bootstrap
        return score_seeds(self.splits(rows), draws=draws, rng=self.rng("bootstrap", name))

    def splits(self, rows: IntArray) -> list[ScoredSplit]:
        """Return some rows, seed by seed, as ``score_seeds`` takes them."""
        return [self.split(rows, seed) for seed in range(len(self.seeds))]

    def split(self, rows: IntArray, seed: int = 0) -> ScoredSplit:
        """Return some rows of one seed as ``score_split`` takes them."""
        predictions, shown = self.seeds[seed].take(rows), self.lesions.take(rows)
        calibration = self.calibrations[seed]
        return ScoredSplit(
            prob_NC=predictions.prob_NC,
            label_N=predictions.label_N,
            lesion_id=shown.lesion_id,
            group_N=shown.group_N,
            classes=predictions.classes,
            malignant=tuple(self.params.malignant),
            threshold=calibration.threshold,
            specificity=self.params.evaluation.specificity,
            melanoma=calibration.melanoma,
            melanoma_threshold=calibration.melanoma_threshold,
        )


def spread(points: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Return each figure that is defined in every seed as mean, standard deviation and values; of one seed, none."""
    if len(points) < 2:
        return {}
    return {
        name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": values}
        for name in points[0]
        if np.isfinite(values := [point[name] for point in points]).all()
    }


def _by_person(task: Task) -> dict[str, Any]:
    """Test figures by what the data set says of the person and the place; null where it says nothing."""
    table = lesions.read(task.context.inputs["images"])
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
    return subgroup_figures(task.splits(rows), columns, draws=draws, rng=task.rng("subgroups"))


def _by_difficulty(task: Task) -> dict[str, Any]:
    """Figures of the test lesions that the reference models all get wrong (``challenging``), and of the ``rest``."""
    images = challenging_file.read(task.context.inputs["challenging"])
    found = {}
    for name, wanted in (("challenging", images.hard), ("rest", images.rest)):
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
    reference = predictions_file.read(folder)
    here = task.predictions.take(task.rows("test"))
    there = reference.take(np.flatnonzero(reference.split == "test"))
    if set(there.image_id.tolist()) != set(here.image_id.tolist()):
        raise DataError(
            "predictions.parquet of round 0 and of this round hold different test images; rerun predict"
        )
    there = predictions_file.find(there, here.image_id, "test")
    return paired_p_value(
        here.predicted_N == here.label_N,
        there.predicted_N == there.label_N,
        task.lesions.group_N[task.rows("test")],
        task.rng("paired"),
    )


STAGE = base.Stage(
    name="evaluate",
    version=4,
    params=Params,
    run=run,
    inputs=("images", "split", "predictions"),
    optional=("reference", "challenging", "seed_#"),
    units=lambda _params, sizes: sizes.chunks(sizes.held),
    files=(Scores,),
)
