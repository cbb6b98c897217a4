"""What mixing policies see and decide, and what samples are conditioned on.

Shape legend: M hard cases, S samples, L levels, D width, K neighbours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from engine.types.arrays import FloatArray, IntArray, StrArray, same_length


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """M cases with their K retrieved same-class train neighbours, nearest first.

    ``levels_MLD`` are the cases' own embeddings, ``neighbour_levels_MKLD`` the neighbours'; a missing neighbour
    has id "" and similarity -inf (fewer than K lesions of the class exist). ``other_...`` are neighbours of the class
    that the case is taken for, in the same form, where the mixing policy asked for them (else None).
    """

    image_id: StrArray
    dx: StrArray
    levels_MLD: FloatArray
    neighbour_ids_MK: StrArray
    similarity_MK: FloatArray
    neighbour_levels_MKLD: FloatArray
    other_ids_MK: StrArray | None = None
    other_similarity_MK: FloatArray | None = None
    other_levels_MKLD: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What a mixing policy decides for S samples: which embeddings, in which shares, condition each.

    ``neighbour_ids_SK`` and ``weights_SK`` name the sources (the parent itself may be among them); weights of a row
    sum to 1, an unused slot has id "" and weight 0.
    """

    levels_SLD: FloatArray
    parent_image_id: StrArray
    neighbour_ids_SK: StrArray
    weights_SK: FloatArray


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What S samples are conditioned on; ``label_S`` are class names, ``seed_S`` the samples' own noise seeds.

    ``difficulty_S`` is the rank of a sample's parent among the round's parents, from 0 (easiest) to 1 (hardest).
    """

    sample_id: StrArray
    levels_SLD: FloatArray
    label_S: StrArray
    parent_image_id: StrArray
    neighbour_ids_SK: StrArray
    weights_SK: FloatArray
    seed_S: IntArray
    difficulty_S: FloatArray

    def __post_init__(self) -> None:
        same_length(self, [f.name for f in dataclasses.fields(self)])

    def __len__(self) -> int:
        return len(self.sample_id)
