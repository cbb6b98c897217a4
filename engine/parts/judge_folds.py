"""The judge's folds as other stages use them: which files they are, and the workers that apply them to images."""

from __future__ import annotations

from pathlib import Path

from engine.artifacts import judge as judge_file
from engine.classifier.predict import LogitWorker
from engine.parts.context import StageContext

GUIDING_FOLD = judge_file.WEIGHTS.format(fold=0)
"""The fold whose gradient may guide synthesis; it then judges no image."""


def judge_folds(judge: Path) -> list[Path]:
    """Return the weight files of a finished judge's folds, in their order."""
    return sorted(judge.glob(judge_file.WEIGHTS.format(fold="*")))


def fold_number(weights: Path) -> int:
    """Return which fold a weight file is: the number that ``oof.parquet`` gives the images it held out."""
    return int(weights.stem.rpartition("_")[2])


def logit_worker(context: StageContext, weights: Path, images: Path) -> LogitWorker:
    """Return the worker that applies one classifier to rows of an image file, on this stage's device and threads."""
    return LogitWorker(weights=weights, images=images, device=context.device, threads=context.threads)


def judge_workers(context: StageContext, images: Path, *, guided: bool = False) -> list[LogitWorker]:
    """Return a worker a fold of the stage's judge; where a fold has ``guided`` synthesis, without that one.

    It would only agree with itself.
    """
    folds = judge_folds(context.inputs["judge"])
    return [logit_worker(context, f, images) for f in folds if not (guided and f.name == GUIDING_FOLD)]
