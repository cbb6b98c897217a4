"""The mixing policy that edits a case toward the class it is taken for.

Legend: M hard cases, K neighbours, L levels, D width.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import BoolArray, IntArray, Mixture, Neighbourhood
from policies.base import STRICT
from policies.mixing import along_arcs, check_order
from policies.registry import register


@register("mixing", "boundary")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Boundary:
    """A point on the arc from the case to one drawn neighbour of the class that it is taken for, level by level (slerp).

    Points toward the other class near the border, as borderline-SMOTE2 makes them (Han et al. 2005), on the arc of
    ``interpolate``. The sample keeps the class of the case. Where the case is taken for its own class, and for random
    parents, the other class is that of the most similar train lesion of another class. A case without such neighbours is
    mixed with one of its own class.
    """

    low: float = Field(0.1, ge=0.0, le=1.0, description="least share of the neighbour")
    high: float = Field(0.5, ge=0.0, le=1.0, description="largest share of the neighbour")

    wants_other: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_order(self.low, self.high)

    def mix(self, hood: Neighbourhood, counts_M: IntArray, rng: np.random.Generator) -> Mixture:
        """Draw the neighbour (uniformly among those present) and its share t ~ U(low, high) for each sample.

        Raises:
            ValueError: the neighbourhood has no neighbours of another class.
        """
        if hood.other_ids_MK is None or hood.other_similarity_MK is None or hood.other_levels_MKLD is None:
            raise ValueError("the policy asked for neighbours of another class (wants_other) and got none")
        has_M = (hood.other_ids_MK != "").any(axis=1)
        nearer = dataclasses.replace(
            hood,
            neighbour_ids_MK=_either(has_M, hood.other_ids_MK, hood.neighbour_ids_MK, ""),
            similarity_MK=_either(has_M, hood.other_similarity_MK, hood.similarity_MK, -np.inf),
            neighbour_levels_MKLD=_either(has_M, hood.other_levels_MKLD, hood.neighbour_levels_MKLD, 0.0),
        )
        return along_arcs(nearer, counts_M, self.low, self.high, rng)


def _either(
    first_M: BoolArray, one_MK: npt.NDArray[Any], two_MK: npt.NDArray[Any], missing: Any
) -> npt.NDArray[Any]:
    """Return the rows of ``one`` where ``first_M``, else those of ``two``; the narrower filled up with ``missing``."""
    shape = (len(first_M), max(one_MK.shape[1], two_MK.shape[1]), *two_MK.shape[2:])
    rows_MK = np.full(shape, missing, dtype=np.result_type(one_MK, two_MK))
    rows_MK[first_M, : one_MK.shape[1]] = one_MK[first_M]
    rows_MK[~first_M, : two_MK.shape[1]] = two_MK[~first_M]
    return rows_MK
