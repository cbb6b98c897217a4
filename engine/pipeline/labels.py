"""Labels bought for an arm: choose the images to ask about, by what came back on those before."""

from __future__ import annotations

from collections.abc import Sequence

from engine.arms import ARMS
from engine.artifacts import asked
from engine.history import ArmState
from engine.labelling.answers import Reply
from engine.pipeline.pipeline import Pipeline
from engine.stages import ask as ask_stage
from engine.store import StageFolder
from policies import registry

RANDOM = {"name": "random"}
"""The query policy of arms that ask by chance."""


def ask(
    pipeline: Pipeline, number: int, arm: str, before: ArmState, earlier: Sequence[str], known: Reply
) -> StageFolder:
    """Choose the questions of one arm in one round, by its classifier of the round before.

    Args:
        pipeline: the run's.
        number: the round.
        arm: for which labels are asked.
        before: the arm after the round before.
        earlier: the images it has asked about so far; nothing is asked twice.
        known: what came back on those, as the arm trained on it.
    """
    by_chance = ARMS[arm].asks == "random"
    params = ask_stage.Params.of(
        pipeline.config,
        number,
        policy=RANDOM if by_chance else None,
        besides=earlier,
        answers=known.labels,
    )
    wanted = registry.make("query", params.policy).wanted
    inputs = {"classifier": before.classifier, "predictions": before.predict}
    inputs |= pipeline.parts(("judge",)) if wanted is not None and wanted.kind == "committee" else {}
    return pipeline.arm(number, arm, ask_stage.STAGE, params, inputs, seed=pipeline.round_seed(number))


def images(questions: Sequence[StageFolder]) -> list[str]:
    """Return the images that were asked about, round by round."""
    return [image for folder in questions for image in asked.read_ids(folder.path).tolist()]
