"""The paired difference of two classifiers of one split: their test predictions, and one bootstrap of lesions for both."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.artifacts import predictions, split
from engine.artifacts.calibration import Calibration
from engine.artifacts.run_layout import seed_folder
from engine.commands.finished_run import Chosen
from engine.errors import DataError
from engine.evaluation.scoring import ScoredSplit, bootstrap_figures
from engine.evaluation.statistics import Interval, group_weights, interval
from engine.study.replicates import Figures, mean_figures
from engine.study.run_replicates import further_seeds
from engine.training.plan import derive_seed
from engine.types import StrArray


def paired_differences(
    first: Chosen, other: Chosen, *, draws: int, seed: int
) -> dict[str, tuple[Interval, int]]:
    """Bootstrap test lesions once for both classifiers and return other - first of each figure.

    With several classifier seeds each side's figure is the mean over them, in every draw too, as the table above has it.

    Returns:
        {dotted figure: (difference with its 95 % interval, number of test lesions)}.
    """
    ours, theirs = _test_splits(first), _test_splits(other)
    if ours[1].tolist() != theirs[1].tolist():
        raise DataError(
            f"{other.folder}: predicts other test images than {first.folder}; rerun one of the runs"
        )
    lesions = len(set(ours[0][0].lesion_id.tolist()))
    if not np.array_equal(ours[0][0].group_N, theirs[0][0].group_N):
        raise DataError(
            f"{other.folder}: groups test lesions by other patients or near-duplicates than {first.folder}: their intervals "
            "would not be paired; rerun one with the other's data.split and patients"
        )
    groups = np.unique(ours[0][0].group_N)
    weights_BG = group_weights(len(groups), draws, np.random.default_rng(derive_seed(seed, "compare")))
    found = []
    for splits, _ in (ours, theirs):
        each = []
        for scored in splits:
            point, drawn = bootstrap_figures(scored, weights_BG)
            each.append(Figures(point=point, drawn=drawn))
        found.append(mean_figures(each))
    before, after = found
    return {
        name: (
            interval(after.point[name] - before.point[name], after.drawn[name] - before.drawn[name]),
            lesions,
        )
        for name in before.point
    }


def _test_splits(chosen: Chosen) -> tuple[list[ScoredSplit], StrArray]:
    """The test predictions of every classifier seed of one (round, arm) in the order of image ids, and those ids."""
    folders = [chosen.folder, *(chosen.folder / seed_folder(seed) for seed in further_seeds(chosen.folder))]
    found = [_test_split(chosen, folder) for folder in folders]
    (_, image_id), *further = found
    for folder, (_, others) in zip(folders[1:], further, strict=True):
        if others.tolist() != image_id.tolist():
            raise DataError(
                f"{folder}: predicts other test images than {chosen.folder}; rerun `hardcase run`"
            )
    return [scored for scored, _ in found], image_id


def _test_split(chosen: Chosen, folder: Path) -> tuple[ScoredSplit, StrArray]:
    """The same of one seed, by the calibration beside its predictions."""
    calibration = Calibration.read(folder)
    found = predictions.read(folder, calibration.classes)
    rows = np.flatnonzero(found.split == "test")
    test = found.take(rows[np.argsort(found.image_id[rows], kind="stable")])
    lesions = split.read(chosen.run.path).find(test.image_id)
    scored = ScoredSplit(
        prob_NC=test.prob_NC,
        label_N=test.label_N,
        lesion_id=lesions.lesion_id,
        group_N=lesions.group_N,
        classes=calibration.classes,
        malignant=calibration.malignant,
        threshold=calibration.threshold,
        specificity=calibration.specificity,
        melanoma=calibration.melanoma,
        melanoma_threshold=calibration.melanoma_threshold,
    )
    return scored, test.image_id
