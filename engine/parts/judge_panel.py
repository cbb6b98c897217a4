"""Which folds of the judge may judge a synthetic image, and what they say of it: none that learned from its parent.

A sample of a train lesion resembles what most folds were fitted on, so their agreement says little. The fold that held the
lesion out judges it alone, as it judged the real train images that the thresholds come from. Samples of other lesions (of
the mine split) are judged by the mean of all folds, as val is. Neighbours that are mixed in are not looked at: with few
folds none would be left.

Shape legend: S synthetic images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.artifacts import judge as judge_file
from engine.artifacts.judge import JudgeFacts
from engine.classifier.predict import LogitWorker, mean_softmax, member_logits
from engine.parts.context import StageContext
from engine.parts.judge_folds import fold_number
from engine.types import StrArray

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The folds that judge some samples (rows of S), and whether they are the one fold that held out their parents."""

    workers: tuple[LogitWorker, ...]
    rows: npt.NDArray[np.int64]
    held_out: bool


def panels(context: StageContext, workers: list[LogitWorker], parent_S: StrArray) -> list[Panel]:
    """Return who judges which samples; ``workers`` are the folds that have a say at all (a guiding one has none).

    A sample whose only clean fold guided synthesis falls to all the others: they know its parent, it would know the sample.
    """
    fold_of = judge_file.read_fold_of(context.inputs["judge"])
    by_fold = {fold_number(worker.weights): worker for worker in workers}
    fold_S = np.array([fold_of.get(str(parent), -1) for parent in parent_S], dtype=np.int64)
    alone_S = np.isin(fold_S, list(by_fold))
    found = [Panel(workers=tuple(workers), rows=np.flatnonzero(~alone_S), held_out=False)]
    found += [
        Panel(workers=(worker,), rows=np.flatnonzero(fold_S == fold), held_out=True)
        for fold, worker in by_fold.items()
    ]
    return [panel for panel in found if len(panel.rows)]


def probabilities(
    context: StageContext, found: list[Panel], count: int, classes: int, temperature: float
) -> tuple[Floats, Floats]:
    """Return what the panels say of ``count`` samples, (S, C): at temperature 1, and at the judge's ``temperature``.

    Every fold is calibrated by itself, then the folds are averaged.
    """
    prob_SC = np.zeros((count, classes))
    calibrated_SC = np.zeros_like(prob_SC)
    for panel in found:
        logits_KSC = member_logits(context.map, panel.workers, panel.rows, "judge synthetic images")
        prob_SC[panel.rows] = mean_softmax(logits_KSC)
        calibrated_SC[panel.rows] = mean_softmax(logits_KSC, temperature)
    return prob_SC, calibrated_SC


def real_recall(
    found: list[Panel], label_S: npt.NDArray[np.int64], classes: tuple[str, ...], judge: JudgeFacts
) -> Floats:
    """Return how often each sample's panel is right on unseen real lesions of its class, (S,); NaN where unknown.

    One fold: its recall out of fold (``oof_recall``). All folds: their recall on val (``val_recall``).
    """
    recall_S = np.full(len(label_S), np.nan)
    for panel in found:
        known = judge.oof_recall if panel.held_out else judge.val_recall
        recall_C = np.array([np.nan if known.get(dx) is None else known[dx] for dx in classes], dtype=float)
        recall_S[panel.rows] = recall_C[label_S[panel.rows]]
    return recall_S
