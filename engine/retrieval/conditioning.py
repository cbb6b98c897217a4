"""Turns hard cases and their retrieved neighbours into what synthesis is conditioned on.

Shape legend: M cases, S samples, K neighbours, L levels, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engine.errors import StageError
from engine.retrieval.embedding import Float32Array
from engine.retrieval.index import MISSING, Found, LesionIndex
from engine.training.plan import derive_seed
from engine.types import Conditioning, FloatArray, IntArray, Mixture, Neighbourhood, StrArray, strings


def neighbourhood(
    image_id: StrArray, dx: StrArray, levels_MLD: Float32Array, found: Found, index: LesionIndex
) -> Neighbourhood:
    """Join M cases with the embeddings of their neighbours; a missing neighbour's embedding is zero."""
    neighbour_levels = np.asarray(index.levels_NLD[np.maximum(found.row_MK, 0)], dtype=np.float32)
    neighbour_levels[found.row_MK == MISSING] = 0.0
    return Neighbourhood(
        image_id=image_id,
        dx=dx,
        levels_MLD=levels_MLD,
        neighbour_ids_MK=found.image_id_MK,
        similarity_MK=found.similarity_MK,
        neighbour_levels_MKLD=neighbour_levels,
    )


def condition(
    mixture: Mixture,
    hood: Neighbourhood,
    difficulty_M: FloatArray,
    *,
    round: int,
    source: str,
    seed: int,
) -> Conditioning:
    """Give each mixed sample its id, its class (its parent's) and a noise seed of its own.

    Args:
        mixture: what the mixing policy decided.
        hood: the cases it was asked about.
        difficulty_M: their ranks, 0: easiest, 1: hardest.
        round: number of the round, part of ids and seeds.
        source: "hard" or "random", part of ids and seeds.
        seed: the stage's seed.
    """
    label = {str(case): str(dx) for case, dx in zip(hood.image_id, hood.dx, strict=True)}
    hardness = {str(case): float(d) for case, d in zip(hood.image_id, difficulty_M, strict=True)}
    samples = range(len(mixture.parent_image_id))
    return Conditioning(
        sample_id=strings([f"r{round:02d}_{source}_{index:05d}" for index in samples]),
        levels_SLD=np.asarray(mixture.levels_SLD, dtype=np.float32),
        label_S=strings([label[str(parent)] for parent in mixture.parent_image_id]),
        parent_image_id=mixture.parent_image_id,
        neighbour_ids_SK=mixture.neighbour_ids_SK,
        weights_SK=mixture.weights_SK,
        seed_S=np.array(
            [derive_seed(seed, "sample", round, source, index) for index in samples], dtype=np.int64
        ),
        difficulty_S=np.array([hardness[str(parent)] for parent in mixture.parent_image_id]),
    )


def nothing(levels: int, width: int) -> Conditioning:
    """Return the conditioning of no sample at all, with the right shapes."""
    none = strings([])
    return Conditioning(
        sample_id=none,
        levels_SLD=np.zeros((0, levels, width), dtype=np.float32),
        label_S=none,
        parent_image_id=none,
        neighbour_ids_SK=none.reshape(0, 1),
        weights_SK=np.zeros((0, 1)),
        seed_S=np.zeros(0, dtype=np.int64),
        difficulty_S=np.zeros(0),
    )


def draw_parents(
    image_id: StrArray, dx: StrArray, counts: Mapping[str, int], rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Draw parents at random, class by class: no image again before every image of its class was drawn.

    Args:
        image_id: images to draw from.
        dx: their classes.
        counts: samples to make a class.
        rng: source of randomness.

    Returns:
        Positions of the parents drawn (ascending) and how often each was drawn.

    Raises:
        StageError: samples of a class are asked for that has no image; names it.
    """
    return match_parents(image_id, dx, {name: [1] * count for name, count in counts.items()}, rng)


def match_parents(
    image_id: StrArray, dx: StrArray, per_parent: Mapping[str, Sequence[int]], rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Draw parents at random so that each class has as many parents, of as many images each, as ``per_parent`` says.

    Where a class has fewer images than parents are wanted, an image stands for several of them, the fewest possible.

    Args:
        image_id: images to draw from.
        dx: their classes.
        per_parent: by class, the images that each parent gets.
        rng: source of randomness.

    Returns:
        Positions of the parents drawn (ascending) and the images of each.

    Raises:
        StageError: parents of a class are asked for that has no image; names it.
    """
    times_N = np.zeros(len(image_id), dtype=np.int64)
    for name in sorted(per_parent):
        wanted = np.sort(np.array([n for n in per_parent[name] if n > 0], dtype=np.int64))[::-1]
        rows = np.flatnonzero(dx == name)
        if len(wanted) and len(rows) == 0:
            raise StageError(
                f"counts.{name}: {wanted.sum()} random parents asked for, but the split holds no image of {name}; "
                "raise data.limit or the split's share"
            )
        for start in range(0, len(wanted), max(1, len(rows))):
            turn = wanted[start : start + len(rows)]
            times_N[rng.permutation(rows)[: len(turn)]] += turn
    parents = np.flatnonzero(times_N).astype(np.int64)
    return parents, times_N[parents]
