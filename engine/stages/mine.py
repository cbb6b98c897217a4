"""Stage ``mine``: a round's predictions -> hard_cases.parquet, by the mining policy.

Only images that ``mine_from`` names are looked at: the part ``mine``, the classifier's own train images out of fold
(crossfit), or the part ``test`` (the thesis's protocol; the report marks it LEAKY).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.errors import DataError, StageError
from engine.stages.base import StageContext
from engine.stages.dataset import Dataset, open_dataset
from engine.stages.draws import make_draws
from engine.stages.evaluate import read_predictions
from engine.train_plan import derive_seed
from engine.types import HardCases, IntArray, MiningState, Predictions, StrArray
from policies import registry


def mined_rows(dataset: Dataset, params: Mapping[str, Any]) -> IntArray:
    """Positions in the table of the images among which ``mine_from`` seeks hard cases."""
    if params["mine_from"] == "crossfit":
        return dataset.own(params.get("train_sets"))
    return dataset.where(str(params["mine_from"]))


def run(context: StageContext) -> None:
    """Write hard_cases.parquet (image_id, dx, predicted, score), hardest first; it may hold no row.

    Raises:
        ConfigError: the mining policy's spec is wrong.
        DataError: the predictions lack an image of the mined part.
        StageError: the mined part holds no image.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    rows = mined_rows(dataset, context.params)
    if len(rows) == 0:
        raise StageError(
            f"loop.mine_from: {context.params['mine_from']} has no image to mine; "
            "raise data.split.mine or use loop.mine_from=crossfit"
        )
    image_id = dataset.table.image_id[rows]
    policy = registry.make("mining", context.params["policy"])
    predictions = _predictions(context.inputs["predictions"], image_id)
    state = MiningState(
        predictions=predictions,
        lesion_id=dataset.table.lesion_id[rows],
        round=int(context.params["round"]),
        malignant=tuple(context.params["malignant"]),
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
