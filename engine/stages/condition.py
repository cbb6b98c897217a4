"""Stage ``condition``: retrieves the hard cases' neighbours, gives each its budget, mixes what synthesis gets.

Shape legend: M cases, S samples, L levels, D width, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal

import numpy as np

from engine.artifacts import conditioning, hard_cases, neighbours
from engine.artifacts import embedder as embedder_file
from engine.artifacts.neighbours import Neighbours
from engine.config import Config, EmbedderConfig
from engine.parts.context import StageContext
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.embed import Extraction, embed_rows
from engine.parts.own_images import mined_rows, own_sets
from engine.retrieval.conditioning import condition, draw_parents, match_parents, neighbourhood, nothing
from engine.retrieval.embedding import Float32Array, fuse
from engine.retrieval.index import Found, LesionIndex
from engine.retrieval.other_class import taken_for, with_other
from engine.stages import base
from engine.training.plan import derive_seed
from engine.types import BudgetState, FloatArray, HardCases, IntArray, LesionTable, Neighbourhood, StrArray
from policies import registry

Parents = Literal["mined", "random", "uniform", ""]
"""As ``Arm.parents``."""
SOURCE: Final[Mapping[Parents, Literal["hard", "random", "unguided"]]] = {
    "mined": "hard",
    "random": "random",
    "uniform": "unguided",
}
"""What samples are named after."""


class Params(base.Params):
    """Which policies decide, how many images there are to spend, and what rounds so far have shown."""

    optional: ClassVar[frozenset[str]] = frozenset({"train_sets", "neighbours_level", "per_parent"})

    embedder: EmbedderConfig
    data: Extraction
    budget: dict[str, Any]
    mixing: dict[str, Any]
    total: int
    neighbours: int
    mine_from: Literal["mine", "crossfit", "test"]
    round: int
    source: Literal["hard", "random", "unguided"]
    """Parents: the mined hard cases; drawn at random, class by class; drawn uniformly over the classifier's own images."""
    counts: dict[str, int]
    """Images per class of parents drawn on request."""
    sensitivity: dict[str, float | None]
    """Val sensitivity per class after the round before; None where val holds no image of the class."""
    gain_history: list[dict[str, float]]
    """Change of val sensitivity per class, one mapping per finished round."""
    train_sets: list[int] | None = None
    neighbours_level: int | None = None
    """Embedder level to retrieve by, from 1; None: all levels fused."""
    per_parent: dict[str, list[int]] | None = None
    """What random parents match: by class, the images of each parent, most first. None: no more per parent than needed."""

    @classmethod
    def of(
        cls,
        config: Config,
        number: int,
        *,
        parents: Parents = "mined",
        per_parent: Mapping[str, Sequence[int]] | None = None,
        seen: Sequence[Mapping[str, float | None]] = (),
    ) -> Params:
        """Return the conditioning of round ``number``.

        Args:
            config: the run's.
            number: the round.
            parents: spend the budget on the mined cases, or draw parents at random: to match ``hard``'s per class and per
                parent, or uniformly and as many in all.
            per_parent: images that ``hard`` made of each parent, by class.
            seen: val sensitivity per class of arm ``hard`` after each round so far.
        """
        return cls(
            embedder=config.embedder,
            data=Extraction.of(config.data),
            budget=config.policy.budget,
            mixing=config.policy.mixing,
            total=config.loop.made_per_round,
            neighbours=config.loop.neighbours,
            mine_from=config.loop.mine_from,
            round=number,
            source=SOURCE[parents],
            counts={},
            per_parent=None
            if per_parent is None
            else {dx: list(per_parent[dx]) for dx in sorted(per_parent)},
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
        params = cls.of(config, 0, parents="random")
        changes = {
            "counts": dict(counts),
            "total": sum(counts.values()),
            "mine_from": mine_from,
            "train_sets": None,
        }
        return params.model_copy(update=changes)


def gains(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> dict[str, float]:
    """Return the change per class from one round to the next, where both know it."""
    known = [(dx, value, after.get(dx)) for dx, value in before.items()]
    return {dx: new - old for dx, old, new in known if old is not None and new is not None}


def run(context: StageContext, params: Params) -> None:
    """Fill conditioning.parquet, levels.npy and neighbours.parquet; without cases they are empty.

    Raises:
        StageError: random parents are asked for of a class the mined split does not hold.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    rng = np.random.default_rng(derive_seed(context.seed, "condition", params.round, params.source))
    if params.source == "random":
        image_id, counts_M = _random_cases(dataset, params, rng)
    elif params.source == "unguided":
        image_id, counts_M = _any_cases(dataset, params, rng)
    else:
        cases = hard_cases.read(context.inputs["hard_cases"])
        image_id, counts_M = cases.image_id, _allocate(cases, dataset, params, rng)
    _write(context, params, dataset, image_id, counts_M, rng)


def ranks(count: int, source: str, rng: np.random.Generator) -> FloatArray:
    """Return the difficulty of ``count`` cases, from 1 to 0: hard cases come hardest first, others are dealt theirs.

    So edits of random parents are as strong, as often, as those of hard ones.
    """
    falling_M = np.linspace(1.0, 0.0, count) if count > 1 else np.ones(count)
    return falling_M if source == "hard" else rng.permutation(falling_M)


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
    difficulty_M = ranks(len(table), params.source, rng)
    made = condition(mixture, hood, difficulty_M, round=params.round, source=params.source, seed=context.seed)
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
        if dx
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
    """Draw parents at random from the images that are mined, to match ``hard``'s or ``counts`` per class."""
    rows = mined_rows(dataset, params.mine_from, params.train_sets)
    table = dataset.table.take(rows)
    if params.per_parent is None:
        parents, counts_M = draw_parents(table.image_id, table.dx, params.counts, rng)
    else:
        parents, counts_M = match_parents(table.image_id, table.dx, params.per_parent, rng)
    return table.image_id[parents], counts_M


def _any_cases(dataset: Dataset, params: Params, rng: np.random.Generator) -> tuple[StrArray, IntArray]:
    """Draw parents uniformly over the classifier's own images, as many images in all as ``hard`` made."""
    table = dataset.table.take(dataset.own(params.train_sets))
    total = sum(sum(images) for images in (params.per_parent or {}).values())
    one_class = np.zeros(len(table), dtype=np.str_)
    parents, counts_M = draw_parents(table.image_id, one_class, {"": total}, rng)
    return table.image_id[parents], counts_M


STAGE = base.Stage(
    name="condition",
    version=3,
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "index"),
    optional=("hard_cases",),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.samples),
    files=(conditioning.SCHEMA, conditioning.LEVELS, neighbours.SCHEMA),
)
