"""From predictions to conditioning: mine hard cases, retrieve neighbours, spend the budget, mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.arms import ENGINE
from engine.history import Made
from engine.pipeline.pipeline import Pipeline
from engine.stages import condition as condition_stage
from engine.stages import crossfit as crossfit_stage
from engine.stages import mine as mine_stage
from engine.stages.condition import Parents
from engine.store import StageFolder
from policies import registry


def out_of_fold(pipeline: Pipeline, number: int, made: Mapping[int, Made]) -> StageFolder | None:
    """Predict the classifier's own images out of fold; None unless hard cases are mined there.

    Images accepted so far (``made``, arm ``hard``'s synthesis by round) train too.
    """
    if pipeline.config.loop.mine_from != "crossfit":
        return None
    inputs = {
        f"{role}_{n}": folder
        for n, stages in sorted(made.items())
        for role, folder in (("accept", stages.accept), ("synthesize", stages.synthesize))
    }
    params = crossfit_stage.Params.of(pipeline.config, adds=bool(made))
    return pipeline.arm(number, ENGINE, crossfit_stage.STAGE, params, inputs, seed=pipeline.round_seed(0))


def mine(
    pipeline: Pipeline,
    number: int,
    classifier: StageFolder,
    predictions: StageFolder,
    history: Sequence[StageFolder],
) -> StageFolder:
    """Seek hard cases in ``predictions``; policies see those of earlier rounds (``history``) as well.

    Policies that ask for draws need the ``classifier`` that predicted, a committee the judge too.
    """
    wanted = registry.make("mining", pipeline.config.policy.mining).wanted
    inputs = {"predictions": predictions} | {f"history_{n}": folder for n, folder in enumerate(history)}
    inputs |= {"classifier": classifier} if wanted is not None else {}
    inputs |= pipeline.parts(("judge",)) if wanted is not None and wanted.kind == "committee" else {}
    params = mine_stage.Params.of(pipeline.config, number)
    return pipeline.arm(number, ENGINE, mine_stage.STAGE, params, inputs, seed=pipeline.round_seed(number))


def condition(
    pipeline: Pipeline,
    number: int,
    source: str,
    mined: StageFolder,
    *,
    parents: Parents = "mined",
    seen: Sequence[Mapping[str, float | None]] = (),
    per_parent: Mapping[str, Sequence[int]] | None = None,
) -> StageFolder:
    """Retrieve neighbours, spend the budget and mix; or draw ``parents`` at random to match ``per_parent``.

    Args:
        pipeline: the run's.
        number: the round.
        source: the arm the images are for.
        mined: the round's hard cases.
        parents: where parents come from (``Arm.parents``).
        seen: arm ``hard``'s val sensitivity per class after each round so far, for the budget policy.
        per_parent: images that ``hard`` made of each parent, by class.
    """
    inputs = {"hard_cases": mined, **pipeline.parts(("embedder", "index"))}
    params = condition_stage.Params.of(
        pipeline.config, number, parents=parents, per_parent=per_parent, seen=seen
    )
    seed = pipeline.round_seed(number)
    return pipeline.arm(number, source, condition_stage.STAGE, params, inputs, seed=seed)
