"""Stage ``mine``: a round's predictions -> hard_cases.parquet, by the mining policy.

Only images that ``mine_from`` names are looked at: the part ``mine``, the classifier's own train images out of fold
(crossfit), or the part ``test`` (the thesis's protocol; the report marks it LEAKY).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from engine.config import Config
from engine.errors import DataError, StageError
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.draws import make_draws
from engine.parts.own_images import mined_rows, own_sets
from engine.parts.predictions import read_predictions
from engine.stages import base
from engine.training.plan import derive_seed
from engine.types import HardCases, MiningState, Predictions, StrArray
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
    )
    cases = policy.mine(state, np.random.default_rng(derive_seed(context.seed, "mine", state.round)))
    write_hard_cases(cases, context.out / "hard_cases.parquet")


def write_hard_cases(cases: HardCases, path: Path) -> None:
    """Write hard cases as parquet, columns image_id, dx, predicted, score."""
    texts = {"image_id": cases.image_id, "dx": cases.true, "predicted": cases.predicted}
    frame = pd.DataFrame({name: pd.Series(values.tolist(), dtype=str) for name, values in texts.items()})
    frame.assign(score=np.asarray(cases.score, dtype=np.float64)).to_parquet(path, index=False)


def _history(context: StageContext, image_id: StrArray) -> tuple[Predictions, ...]:
    """Earlier rounds' predictions of the same images, oldest first."""
    rounds = sorted(int(role.split("_")[1]) for role in context.inputs if role.startswith("history_"))
    return tuple(_predictions(context.inputs[f"history_{number}"], image_id) for number in rounds)


def _predictions(folder: Path, image_id: StrArray) -> Predictions:
    """Return the predictions of the given images, in their order."""
    predictions = read_predictions(folder / "predictions.parquet")
    position = {str(name): row for row, name in enumerate(predictions.image_id)}
    absent = [str(name) for name in image_id if str(name) not in position]
    if absent:
        raise DataError(
            f"predictions.parquet lacks image_id {absent[0]} of the mined part ({len(absent)} in all); rerun predict"
        )
    return predictions.take(np.array([position[str(name)] for name in image_id], dtype=np.int64))


STAGE = base.Stage(
    name="mine",
    params=Params,
    run=run,
    inputs=("images", "split", "predictions"),
    optional=("history_#", "classifier", "judge"),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.used),
    files={"hard_cases.parquet": "image_id, dx, predicted, score; hardest first"},
)
