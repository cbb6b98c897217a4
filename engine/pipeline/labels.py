"""Labels bought for an arm: choose the images to ask about, see what came back."""

from __future__ import annotations

from collections.abc import Sequence

from engine.arms import ARMS
from engine.artifacts import asked
from engine.history import ArmState
from engine.labelling.answers import Answers, Reply
from engine.pipeline.pipeline import Pipeline
from engine.stages import ask as ask_stage
from engine.store import StageFolder
from policies import registry

RANDOM = {"name": "random"}
"""The query policy of arms that ask by chance."""


def ask(
    pipeline: Pipeline, number: int, arm: str, before: ArmState, earlier: Sequence[StageFolder]
) -> StageFolder:
    """Choose the questions of one arm in one round, by its classifier of the round before.

    Args:
        pipeline: the run's.
        number: the round.
        arm: for which labels are asked.
        before: the arm after the round before.
        earlier: its questions so far; nothing is asked twice.
    """
    by_chance = ARMS[arm].asks == "random"
    params = ask_stage.Params.of(
        pipeline.config, number, policy=RANDOM if by_chance else None, besides=images(earlier)
    )
    wanted = registry.make("query", params.policy).wanted
    inputs = {"classifier": before.classifier, "predictions": before.predict}
    inputs |= pipeline.parts(("judge",)) if wanted is not None and wanted.kind == "committee" else {}
    return pipeline.arm(number, arm, ask_stage.STAGE, params, inputs, seed=pipeline.round_seed(number))


def images(questions: Sequence[StageFolder]) -> list[str]:
    """Return the images that were asked about, round by round."""
    return [image for folder in questions for image in asked.read_ids(folder.path).tolist()]


def bought(pipeline: Pipeline, answers: Answers, questions: Sequence[StageFolder]) -> Reply:
    """Return what has come back on all questions of an arm so far."""
    return answers.to(images(questions), pipeline.stages["split"].path)
