"""What every arm goes through, each with its own pool: lay out the pool, fit, predict, score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.arms import ARMS, Adds
from engine.artifacts.run_layout import seed_folder
from engine.history import Fit, Made, SeedFit, Trained
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
    pipeline: Pipeline,
    number: int,
    arm: str,
    made: Mapping[int, Made],
    accepted: Sequence[Mapping[str, int]],
    answers: Mapping[str, str] | None = None,
) -> StageFolder:
    """Lay out what one arm trains on.

    ``made`` holds the synthesis stages of each round so far, ``accepted`` what ``hard`` has accepted per class
    in each of them, ``answers`` the class of each image that was labelled for the arm so far.
    """
    inputs = {
        f"{role}_{n}": stages.folders[role]
        for n, stages in sorted(made.items())
        for role in NEEDED[ARMS[arm].adds]
    }
    inputs |= pipeline.parts(("judge",)) if ARMS[arm].adds == "own images softly" else {}
    params = pool_stage.Params.of(pipeline.config, arm, accepted, answers)
    return pipeline.arm(number, arm, pool_stage.STAGE, params, inputs)


def train(pipeline: Pipeline, task: Fit, reference: StageFolder | None) -> Trained:
    """Fit once per seed and round of ``task.fits``, predict, and score all seeds together against ``reference``."""
    seeds = pipeline.config.loop.classifier_seeds
    starts = task.start.classifiers if task.start else (None,) * len(seeds)
    fitted = tuple(_fit_seed(pipeline, task, seed, start) for seed, start in zip(seeds, starts, strict=True))
    scored = evaluate(pipeline, task.round, task.arm, [done.predict for done in fitted], reference)
    return Trained(seeds=fitted, evaluate=scored)


def _fit_seed(pipeline: Pipeline, task: Fit, seed: int, start: StageFolder | None) -> SeedFit:
    """Fit once for each round of ``task.fits``, each from the one before, and predict with the last."""
    place = seed_place(pipeline, task.arm, seed)
    classifiers: list[StageFolder] = []
    init = start
    for stands_for in task.fits:
        init = fit(pipeline, task, stands_for, init, seed=seed, place=place)
        classifiers.append(init)
    predictions = predict(pipeline, task.round, place, classifiers[-1])
    return SeedFit(seed=seed, classifiers=tuple(classifiers), predict=predictions)


def seed_place(pipeline: Pipeline, arm: str, seed: int) -> str:
    """Return under which name the stages of one seed are recorded: the arm's for the first, ``<arm>/seed_<seed>`` else."""
    return arm if seed == pipeline.config.loop.classifier_seeds[0] else f"{arm}/{seed_folder(seed)}"


def fit(
    pipeline: Pipeline,
    task: Fit,
    stands_for: int,
    init: StageFolder | None,
    *,
    seed: int | None = None,
    place: str | None = None,
) -> StageFolder:
    """Train one arm for ``task.steps`` steps, from ``init`` or from scratch.

    The stage's seed depends on ``seed`` (None: the first of the config's) and ``stands_for``, the round this training stands
    for, alone, so that arms are paired. ``place``: the name it is recorded under; None: the arm's.
    """
    params = classifier_stage.Params.of(
        pipeline.config, task.arm, steps=task.steps, continues=init is not None
    )
    inputs = {"pool": task.pool} | ({"init": init} if init is not None else {})
    return pipeline.arm(
        task.round,
        place or task.arm,
        classifier_stage.STAGE,
        params,
        inputs,
        seed=pipeline.round_seed(
            stands_for, pipeline.config.loop.classifier_seeds[0] if seed is None else seed
        ),
    )


def predict(pipeline: Pipeline, number: int, arm: str, classifier: StageFolder) -> StageFolder:
    """Calibrated predictions on every part of the split."""
    params = predict_stage.Params.of(pipeline.config)
    return pipeline.arm(number, arm, predict_stage.STAGE, params, {"classifier": classifier})


def evaluate(
    pipeline: Pipeline,
    number: int,
    arm: str,
    predictions: Sequence[StageFolder],
    reference: StageFolder | None,
) -> StageFolder:
    """Figures on val and test, with intervals, means over seeds; ``reference`` is round 0's predictions."""
    inputs = {"predictions": predictions[0], "challenging": pipeline.stages["challenging"]}
    inputs |= {f"seed_{n}": folder for n, folder in enumerate(predictions) if n > 0}
    inputs |= {"reference": reference} if reference is not None else {}
    return pipeline.arm(number, arm, evaluate_stage.STAGE, evaluate_stage.Params.of(pipeline.config), inputs)
