"""The query policy that asks for large and different gradients of the classifier's last layer.

Legend: N unlabelled candidates, C classes, F features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic.dataclasses import dataclass

from engine.types import FloatArray, Query, QueryState
from policies.base import STRICT
from policies.mining import Scores
from policies.query.asking import Ask
from policies.query.distances import products, single, squared_lengths
from policies.query.open_questions import OpenQuestions, as_given, by_image_id
from policies.registry import register
from policies.stochastic import gumbel

SMALLEST_SQUARE = 1e-30
"""Squared distances are raised to this before a logarithm: images that add nothing are drawn last, not never."""


@register("query", "badge")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Badge(Ask):
    """Uncertain and different images at once: k-means++ seeding on gradients, BADGE (Ash et al. 2020).

    The gradient is that of the last layer's weights, had the image the label that the classifier gives it: (p - onehot) h^T.
    The image of the largest gradient comes first, as in the authors' code; every next one is drawn with chances
    proportional to the squared distance to the nearest gradient of an earlier question. value is that distance, of the first
    the gradient's length. Images of a group compete as one, by the largest of their distances. Noise flattens the draws:
    chances are proportional to distance ^ (2 / (1 + noise)).
    """

    def perturbed(
        self, state: QueryState, value_N: Scores, questions: OpenQuestions, rng: np.random.Generator
    ) -> Scores:
        """Return log distance^2 plus Gumbel noise, whose largest is a draw; the first question is the largest value."""
        scale = 1.0 + self.scale(state.round) if questions.chosen else self.scale(state.round)
        noise_N = gumbel(rng, questions.groups)[questions.group_N]
        return np.asarray(np.log(np.maximum(value_N**2, SMALLEST_SQUARE)) + scale * noise_N)

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Draw the questions one by one."""
        state, order = by_image_id(state)
        error_NC = errors(state.prob_NC)
        square_N = squared_lengths(error_NC) * squared_lengths(state.feature_NF)
        nearest_N = np.full(len(state), np.inf, dtype=np.float32)

        def update(row: int) -> Scores:
            inner_N = products(error_NC, error_NC[row]) * products(state.feature_NF, state.feature_NF[row])
            away_N = square_N + square_N[row] - 2.0 * inner_N
            np.minimum(nearest_N, np.maximum(away_N, 0.0), out=nearest_N)
            return np.sqrt(nearest_N.astype(np.float64))

        questions = OpenQuestions(state, self.balanced)
        length_N = np.sqrt(square_N.astype(np.float64))
        return as_given(self.choose_in_turns(state, length_N, update, questions, rng), order)


def errors(prob_NC: FloatArray) -> npt.NDArray[np.float32]:
    """Return p - onehot of the most probable class, (N, C)."""
    error_NC = single(prob_NC).copy()
    error_NC[np.arange(len(error_NC)), error_NC.argmax(axis=1)] -= 1.0
    return error_NC
