"""Stage ``mine``: a round's predictions -> hard_cases.parquet, by the mining policy.

Only images that ``mine_from`` names are looked at: the part ``mine``, the classifier's own train images out of fold
(crossfit), or the part ``test`` (the thesis's protocol; the report marks it LEAKY).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from engine.artifacts import hard_cases
from engine.artifacts import predictions as predictions_file
from engine.config import Config
from engine.errors import StageError
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.draws import make_draws
from engine.parts.own_images import mined_rows, own_sets
from engine.stages import base
from engine.training.plan import derive_seed
from engine.types import MiningState, Predictions, StrArray
from policies import registry


class Params(base.Params):
    """Which policy seeks hard cases, and among which images."""

    optional: ClassVar[frozenset[str]] = frozenset({"train_sets"})

    policy: dict[str, Any]
    mine_from: Literal["mine", "crossfit", "test"]
    round: int
    malignant: list[str]
    train_sets: list[int] | None = None

    @classmethod
    def of(cls, config: Config, number: int) -> Params:
        """Return what round ``number`` mines."""
        return cls(
            policy=config.policy.mining,
            mine_from=config.loop.mine_from,
            round=number,
            malignant=config.data.malignant,
            train_sets=own_sets(config),
        )


def run(context: StageContext, params: Params) -> None:
    """Write hard_cases.parquet (image_id, dx, predicted, score), hardest first; it may hold no row.

    Raises:
        ConfigError: the mining policy's spec is wrong.
        DataError: the predictions lack an image of the mined part.
        StageError: the mined part holds no image.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    rows = mined_rows(dataset, params.mine_from, params.train_sets)
    if len(rows) == 0:
        raise StageError(
            f"loop.mine_from: {params.mine_from} has no image to mine; "
            "raise data.split.mine or use loop.mine_from=crossfit"
        )
    image_id = dataset.table.image_id[rows]
    policy = registry.make("mining", params.policy)
    predictions = _predictions(context.inputs["predictions"], image_id)
    state = MiningState(
        predictions=predictions,
        lesion_id=dataset.table.lesion_id[rows],
        round=params.round,
        malignant=tuple(params.malignant),
        history=_history(context, image_id),
        draws_TNC=None
        if policy.wanted is None
        else make_draws(context, policy.wanted, dataset.rows[rows], predictions.classes),
        early=_early(context.inputs["predictions"], image_id) if policy.wants_early else None,
    )
    cases = policy.mine(state, np.random.default_rng(derive_seed(context.seed, "mine", state.round)))
    hard_cases.write(cases, context.out)


def _history(context: StageContext, image_id: StrArray) -> tuple[Predictions, ...]:
    """Earlier rounds' predictions of the same images, oldest first."""
    rounds = sorted(int(role.split("_")[1]) for role in context.inputs if role.startswith("history_"))
    return tuple(_predictions(context.inputs[f"history_{number}"], image_id) for number in rounds)


def _early(folder: Path, image_id: StrArray) -> Predictions:
    """Return what fits stopped early say of the given images, in their order."""
    early = predictions_file.read(folder, schema=predictions_file.EARLY)
    return predictions_file.find(early, image_id, "the mined part")


def _predictions(folder: Path, image_id: StrArray) -> Predictions:
    """Return the predictions of the given images, in their order."""
    return predictions_file.find(predictions_file.read(folder), image_id, "the mined part")


STAGE = base.Stage(
    name="mine",
    params=Params,
    run=run,
    inputs=("images", "split", "predictions"),
    optional=("history_#", "classifier", "judge"),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.used),
    files=(hard_cases.SCHEMA,),
)
