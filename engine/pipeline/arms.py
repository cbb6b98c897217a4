"""What every arm goes through, each with its own pool: lay out the pool, fit, predict, score."""

from __future__ import annotations

from collections.abc import Mapping

from engine.arms import ARMS, Adds
from engine.history import Fit, Made
from engine.pipeline.pipeline import Pipeline
from engine.stages import classifier as classifier_stage
from engine.stages import evaluate as evaluate_stage
from engine.stages import pool as pool_stage
from engine.stages import predict as predict_stage
from engine.store import StageFolder

NEEDED: Mapping[Adds, tuple[str, ...]] = {
    "nothing": (),
    "own images": (),
    "own images softly": (),
    "mine split": (),
    "mined images": ("mine",),
    "neighbours": ("condition",),
    "synthetic images": ("accept", "synthesize"),
}
"""The synthesis stages of each round that a pool is laid out from."""


def pool(
    pipeline: Pipeline, number: int, arm: str, made: Mapping[int, Made], counts: Mapping[str, int]
) -> StageFolder:
    """Lay out what one arm trains on.

    ``made`` holds the synthesis stages of each round so far, ``counts`` what ``hard`` has accepted per class.
    """
    inputs = {
        f"{role}_{n}": stages.folders[role]
        for n, stages in sorted(made.items())
        for role in NEEDED[ARMS[arm].adds]
    }
    inputs |= pipeline.parts(("judge",)) if ARMS[arm].adds == "own images softly" else {}
    params = pool_stage.Params.of(pipeline.config, arm, counts)
    return pipeline.arm(number, arm, pool_stage.STAGE, params, inputs)


def fit(pipeline: Pipeline, task: Fit, stands_for: int, init: StageFolder | None) -> StageFolder:
    """Train one arm for ``task.steps`` steps, from ``init`` or from scratch.

    The seed depends on ``stands_for``, the round this training stands for, alone, so that arms are paired.
    """
    params = classifier_stage.Params.of(
        pipeline.config, task.arm, steps=task.steps, continues=init is not None
    )
    inputs = {"pool": task.pool} | ({"init": init} if init is not None else {})
    seed = pipeline.round_seed(stands_for)
    return pipeline.arm(task.round, task.arm, classifier_stage.STAGE, params, inputs, seed=seed)


def predict(pipeline: Pipeline, number: int, arm: str, classifier: StageFolder) -> StageFolder:
    """Calibrated predictions on every part of the split."""
    params = predict_stage.Params.of(pipeline.config)
    return pipeline.arm(number, arm, predict_stage.STAGE, params, {"classifier": classifier})


def evaluate(
    pipeline: Pipeline, number: int, arm: str, predictions: StageFolder, reference: StageFolder | None
) -> StageFolder:
    """Figures on val and test, with intervals; ``reference`` is round 0's predictions."""
    inputs = {"predictions": predictions, "challenging": pipeline.stages["challenging"]}
    inputs |= {"reference": reference} if reference is not None else {}
    return pipeline.arm(number, arm, evaluate_stage.STAGE, evaluate_stage.Params.of(pipeline.config), inputs)
