"""The query policy that covers the candidates: none is to be far from a labelled image.

Legend: N unlabelled candidates, M labelled images, F features.
"""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass

from engine.types import Query, QueryState
from policies.base import STRICT
from policies.mining import Scores
from policies.query.asking import Ask
from policies.query.distances import products, squared_lengths, squared_to_nearest
from policies.query.open_questions import OpenQuestions, as_given, by_image_id
from policies.registry import register


@register("query", "k_center")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class KCenter(Ask):
    """The images farthest from every labelled one, one by one: the greedy core-set of Sener and Savarese 2018.

    Distances are Euclidean, between features of the classifier's last hidden layer. value is the distance to the nearest
    labelled image or earlier question, of earlier rounds too. Without any of these the candidates' mean stands for one.
    """

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Ask by falling distance to what is labelled or asked about."""
        state, order = by_image_id(state)
        length_N = squared_lengths(state.feature_NF)
        centres = state.covered_KF
        if len(centres) == 0 and len(state):
            centres = state.feature_NF.mean(axis=0, keepdims=True)
        nearest_N = squared_to_nearest(state.feature_NF, centres)

        def update(row: int) -> Scores:
            away_N = length_N + length_N[row] - 2.0 * products(state.feature_NF, state.feature_NF[row])
            np.minimum(nearest_N, np.maximum(away_N, 0.0), out=nearest_N)
            return distance(nearest_N)

        questions = OpenQuestions(state, self.balanced)
        return as_given(self.choose_in_turns(state, distance(nearest_N), update, questions, rng), order)


def distance(squared_N: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Scores:
    """Return the square root in float64."""
    return np.sqrt(squared_N.astype(np.float64))
