"""Which other class a case is taken for, and its neighbours there: what edits toward a border need.

Shape legend: M cases, K neighbours, L levels, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from engine.retrieval.conditioning import neighbourhood
from engine.retrieval.index import Found, LesionIndex
from engine.types import FloatArray, Neighbourhood, StrArray, strings


def taken_for(dx: StrArray, predicted: StrArray, similarity: Mapping[str, FloatArray]) -> StrArray:
    """Return the other class of each case, (M,): the predicted one, else the one whose nearest train lesion is nearest.

    The nearest counts where the prediction is right, unknown (""), or a class without train lesions.

    Args:
        dx: the cases' own classes.
        predicted: what the classifier takes them for.
        similarity: by class, the similarity (M,) of each case to its nearest train lesion there; -inf: none.

    Returns:
        Class names; "" where no other class has a train lesion. Of equally near classes the first by name.
    """
    chosen = []
    for m, (own, named) in enumerate(zip(dx.tolist(), predicted.tolist(), strict=True)):
        near = {
            name: float(of_M[m]) for name, of_M in similarity.items() if name != own and of_M[m] > -np.inf
        }
        nearest = min(near, key=lambda name: (-near[name], name), default="")
        chosen.append(named if named in near else nearest)
    return strings(chosen)


def with_other(hood: Neighbourhood, found: Found, index: LesionIndex) -> Neighbourhood:
    """Return the cases with the neighbours ``found`` in another class; a missing neighbour's embedding is zero."""
    own_MLD = np.asarray(hood.levels_MLD, dtype=np.float32)
    other = neighbourhood(hood.image_id, hood.dx, own_MLD, found, index)
    return dataclasses.replace(
        hood,
        other_ids_MK=other.neighbour_ids_MK,
        other_similarity_MK=other.similarity_MK,
        other_levels_MKLD=other.neighbour_levels_MKLD,
    )
