"""Stage ``condition``: retrieves the hard cases' neighbours, gives each its budget, mixes what synthesis gets.

Shape legend: M cases, S samples, L levels, D width, K neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from engine.config import EmbedderConfig
from engine.parts.dataset import Dataset, open_dataset
from engine.retrieval.conditioning import (
    condition,
    draw_parents,
    neighbourhood,
    nothing,
    write_conditioning,
    write_neighbours,
)
from engine.retrieval.embedding import fuse
from engine.retrieval.index import LesionIndex
from engine.stages.base import StageContext
from engine.stages.embedder import embed_rows, read_facts
from engine.stages.mine import mined_rows
from engine.training.plan import derive_seed
from engine.types import BudgetState, FloatArray, HardCases, IntArray, StrArray, strings
from policies import registry


def run(context: StageContext) -> None:
    """Fill conditioning.parquet, levels.npy and neighbours.parquet; without cases they are empty.

    Raises:
        StageError: ``counts`` asks for random parents of a class the mined split does not hold.
    """
    params = context.params
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    rng = np.random.default_rng(derive_seed(context.seed, "condition", params["round"], params["source"]))
    if params["source"] == "random":
        image_id, counts_M = _random_cases(dataset, params, rng)
    else:
        image_id, counts_M = _hard_cases(context, dataset, rng)
    _write(context, dataset, image_id, counts_M, rng)


def _write(
    context: StageContext, dataset: Dataset, image_id: StrArray, counts_M: IntArray, rng: np.random.Generator
) -> None:
    """Embed the cases, find their neighbours, mix, and write the stage's files."""
    params = context.params
    index = LesionIndex.load(context.inputs["index"])
    table = dataset.table.take(dataset.positions(image_id))
    levels_MLD = embed_rows(context, dataset.rows[dataset.positions(image_id)], "embed hard cases")
    fused_MF = fuse(levels_MLD, EmbedderConfig(**params["embedder"]).fuse)
    found = index.search(fused_MF, table.dx, table.lesion_id, int(params["neighbours"]))
    write_neighbours(table.image_id, table.dx, found, context.out)
    if counts_M.sum() == 0:
        facts = read_facts(context.inputs["embedder"])
        write_conditioning(nothing(len(facts["levels"]), facts["width"]), context.out)
        return
    hood = neighbourhood(table.image_id, table.dx, levels_MLD, found, index)
    mixture = registry.make("mixing", params["mixing"]).mix(hood, counts_M, rng)
    write_conditioning(
        condition(mixture, hood, round=params["round"], source=params["source"], seed=context.seed),
        context.out,
    )


def _hard_cases(
    context: StageContext, dataset: Dataset, rng: np.random.Generator
) -> tuple[StrArray, IntArray]:
    """Return the mined images and what the budget policy gives each."""
    params = context.params
    frame = pd.read_parquet(context.inputs["hard_cases"] / "hard_cases.parquet")
    score_M: FloatArray = frame["score"].to_numpy(dtype=np.float64)
    cases = HardCases(
        image_id=strings(frame["image_id"].tolist()),
        true=strings(frame["dx"].tolist()),
        predicted=strings(frame["predicted"].tolist()),
        score=score_M,
    )
    if len(cases) == 0:
        return cases.image_id, np.zeros(0, dtype=np.int64)
    train_dx = dataset.table.dx[dataset.own(params.get("train_sets"))]
    state = BudgetState(
        cases=cases,
        total=int(params["total"]),
        round=int(params["round"]),
        class_counts={name: int((train_dx == name).sum()) for name in dataset.classes},
        sensitivity=_known(params.get("sensitivity") or {}),
        gain_history=tuple(_known(gain) for gain in params.get("gain_history") or []),
    )
    return cases.image_id, registry.make("budget", params["budget"]).allocate(state, rng)


def _random_cases(dataset: Dataset, params: Any, rng: np.random.Generator) -> tuple[StrArray, IntArray]:
    """Draw ``counts`` parents a class at random from the images that hard cases were mined from."""
    rows = mined_rows(dataset, {"mine_from": "mine", **params})
    table = dataset.table.take(rows)
    counts = {str(dx): int(number) for dx, number in (params.get("counts") or {}).items()}
    parents, counts_M = draw_parents(table.image_id, table.dx, counts, rng)
    return table.image_id[parents], counts_M


def _known(values: Any) -> dict[str, float]:
    """Drop the classes whose figure is null (no val image of them)."""
    return {str(dx): float(value) for dx, value in values.items() if value is not None}
