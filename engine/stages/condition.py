"""Stage ``condition``: retrieves the hard cases' neighbours, gives each its budget, mixes what synthesis gets.

Shape legend: M cases, S samples, L levels, D width, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from engine.artifacts import conditioning, hard_cases, neighbours
from engine.artifacts import embedder as embedder_file
from engine.artifacts.neighbours import Neighbours
from engine.config import Config, EmbedderConfig
from engine.parts.context import StageContext
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.embed import Extraction, embed_rows
from engine.parts.own_images import mined_rows, own_sets
from engine.retrieval.conditioning import condition, draw_parents, neighbourhood, nothing
from engine.retrieval.embedding import Float32Array, fuse
from engine.retrieval.index import Found, LesionIndex
from engine.retrieval.other_class import taken_for, with_other
from engine.stages import base
from engine.training.plan import derive_seed
from engine.types import BudgetState, HardCases, IntArray, LesionTable, Neighbourhood, StrArray
from policies import registry


class Params(base.Params):
    """Which policies decide, how many images there are to spend, and what rounds so far have shown."""

    optional: ClassVar[frozenset[str]] = frozenset({"train_sets", "neighbours_level"})

    embedder: EmbedderConfig
    data: Extraction
    budget: dict[str, Any]
    mixing: dict[str, Any]
    total: int
    neighbours: int
    mine_from: Literal["mine", "crossfit", "test"]
    round: int
    source: Literal["hard", "random"]
    """Parents: the mined hard cases, or drawn at random to ``counts`` per class."""
    counts: dict[str, int]
    sensitivity: dict[str, float | None]
    """Val sensitivity per class after the round before; None where val holds no image of the class."""
    gain_history: list[dict[str, float]]
    """Change of val sensitivity per class, one mapping per finished round."""
    train_sets: list[int] | None = None
    neighbours_level: int | None = None
    """Embedder level to retrieve by, from 1; None: all levels fused."""

    @classmethod
    def of(
        cls,
        config: Config,
        number: int,
        *,
        counts: Mapping[str, int] | None = None,
        seen: Sequence[Mapping[str, float | None]] = (),
    ) -> Params:
        """Return the conditioning of round ``number``.

        Args:
            config: the run's.
            number: the round.
            counts: draw random parents to so many images per class; None: spend the budget on the mined cases.
            seen: val sensitivity per class of arm ``hard`` after each round so far.
        """
        return cls(
            embedder=config.embedder,
            data=Extraction.of(config.data),
            budget=config.policy.budget,
            mixing=config.policy.mixing,
            total=config.loop.budget,
            neighbours=config.loop.neighbours,
            mine_from=config.loop.mine_from,
            round=number,
            source="hard" if counts is None else "random",
            counts=dict(counts or {}),
            sensitivity=dict(seen[-1]) if seen else {},
            gain_history=[gains(before, after) for before, after in pairwise(seen)],
            train_sets=own_sets(config),
            neighbours_level=config.loop.neighbours_level,
        )

    @classmethod
    def on_request(
        cls,
        config: Config,
        counts: Mapping[str, int],
        mine_from: Literal["mine", "crossfit", "test"] = "crossfit",
    ) -> Params:
        """Return a conditioning that belongs to no round: random parents, ``counts`` images per class.

        Parents are train lesions unless ``mine_from`` says otherwise: a request must not show held-out lesions.
        """
        params = cls.of(config, 0, counts=counts)
        changes = {"total": sum(counts.values()), "mine_from": mine_from, "train_sets": None}
        return params.model_copy(update=changes)


def gains(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> dict[str, float]:
    """Return the change per class from one round to the next, where both know it."""
    known = [(dx, value, after.get(dx)) for dx, value in before.items()]
    return {dx: new - old for dx, old, new in known if old is not None and new is not None}


def run(context: StageContext, params: Params) -> None:
    """Fill conditioning.parquet, levels.npy and neighbours.parquet; without cases they are empty.

    Raises:
        StageError: ``counts`` asks for random parents of a class the mined split does not hold.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    rng = np.random.default_rng(derive_seed(context.seed, "condition", params.round, params.source))
    if params.source == "random":
        image_id, counts_M = _random_cases(dataset, params, rng)
    else:
        cases = hard_cases.read(context.inputs["hard_cases"])
        image_id, counts_M = cases.image_id, _allocate(cases, dataset, params, rng)
    _write(context, params, dataset, image_id, counts_M, rng)


def _write(
    context: StageContext,
    params: Params,
    dataset: Dataset,
    image_id: StrArray,
    counts_M: IntArray,
    rng: np.random.Generator,
) -> None:
    """Embed the cases, find their neighbours, mix, and write the stage's files."""
    index = LesionIndex.load(context.inputs["index"])
    positions = dataset.positions(image_id)
    table = dataset.table.take(positions)
    levels_MLD = embed_rows(
        context,
        dataset.rows[positions],
        "embed hard cases",
        tokens=params.embedder.tokens,
        cut=params.data,
    )
    found = _neighbours(params, index, levels_MLD, table)
    nearest = Neighbours(
        image_id=table.image_id,
        dx=table.dx,
        neighbour_ids_MK=found.image_id_MK,
        similarity_MK=found.similarity_MK,
    )
    neighbours.write(nearest, context.out)
    if counts_M.sum() == 0:
        facts = embedder_file.read(context.inputs["embedder"])
        conditioning.write(nothing(len(facts.levels), facts.width), context.out)
        return
    hood = _hood(context, params, index, levels_MLD, table, found)
    mixture = registry.make("mixing", params.mixing).mix(hood, counts_M, rng)
    made = condition(mixture, hood, round=params.round, source=params.source, seed=context.seed)
    conditioning.write(made, context.out)


def _neighbours(params: Params, index: LesionIndex, levels_MLD: Float32Array, table: LesionTable) -> Found:
    """Search the index by all levels fused, or by one of them."""
    level = None if params.neighbours_level is None else params.neighbours_level - 1
    query = fuse(levels_MLD, params.embedder.fuse) if level is None else levels_MLD[:, level]
    return index.search(query, table.dx, table.lesion_id, params.neighbours, level)


def _hood(
    context: StageContext,
    params: Params,
    index: LesionIndex,
    levels_MLD: Float32Array,
    table: LesionTable,
    found: Found,
) -> Neighbourhood:
    """Join the cases with their neighbours, and with those of another class where the mixing policy wants them."""
    hood = neighbourhood(table.image_id, table.dx, levels_MLD, found, index)
    if not registry.make("mixing", params.mixing).wants_other:
        return hood
    mined = params.source == "hard"
    predicted = hard_cases.read(context.inputs["hard_cases"]).predicted if mined else np.full(len(table), "")
    one = params.model_copy(update={"neighbours": 1})
    similarity = {
        dx: _neighbours(one, index, levels_MLD, table.replace(dx=np.full(len(table), dx))).similarity_MK[:, 0]
        for dx in np.unique(index.dx).tolist()
    }
    other = table.replace(dx=taken_for(table.dx, predicted, similarity))
    return with_other(hood, _neighbours(params, index, levels_MLD, other), index)


def _allocate(cases: HardCases, dataset: Dataset, params: Params, rng: np.random.Generator) -> IntArray:
    """Return what the budget policy gives each case, (M,)."""
    if len(cases) == 0:
        return np.zeros(0, dtype=np.int64)
    train_dx = dataset.table.dx[dataset.own(params.train_sets)]
    state = BudgetState(
        cases=cases,
        total=params.total,
        round=params.round,
        class_counts={name: int((train_dx == name).sum()) for name in dataset.classes},
        sensitivity={dx: value for dx, value in params.sensitivity.items() if value is not None},
        gain_history=tuple(params.gain_history),
    )
    return registry.make("budget", params.budget).allocate(state, rng)


def _random_cases(dataset: Dataset, params: Params, rng: np.random.Generator) -> tuple[StrArray, IntArray]:
    """Draw ``counts`` parents per class at random from the images that hard cases are mined from."""
    rows = mined_rows(dataset, params.mine_from, params.train_sets)
    table = dataset.table.take(rows)
    parents, counts_M = draw_parents(table.image_id, table.dx, params.counts, rng)
    return table.image_id[parents], counts_M


STAGE = base.Stage(
    name="condition",
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "index"),
    optional=("hard_cases",),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.samples),
    files=(conditioning.SCHEMA, conditioning.LEVELS, neighbours.SCHEMA),
)
