"""The parameters of every query policy, how questions are picked by their values, and the control.

Legend: N unlabelled candidates. Values grow with what a label is held worth; ties are broken by image_id.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import Query, QueryState
from policies.base import STRICT
from policies.mining import Scores
from policies.query.open_questions import OpenQuestions, as_given, by_image_id, groups_of
from policies.registry import register
from policies.stochastic import Noise, gumbel, standardised

Update = Callable[[int], Scores]
"""Called with the row of the question just asked: what every candidate would be worth as the next one, (N,)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Ask(Noise):
    """The parameters every query policy has: whether predicted classes share the questions, and how far chance decides.

    The images of a group share their noise, so that a lesion photographed often is not asked about more often. The values
    that compete for noise are those of a predicted class, or all.
    """

    balanced: bool = Field(
        False,
        description="predicted classes take turns, the one with the fewest labels first, so that each gets its share",
    )

    def perturbed(
        self, state: QueryState, value_N: Scores, questions: OpenQuestions, rng: np.random.Generator
    ) -> Scores:
        """Return the values by which questions are picked: standardised with noise, or as they are without."""
        scale = self.scale(state.round)
        if scale == 0.0:
            return value_N
        noise_N = gumbel(rng, questions.groups)[questions.group_N]
        score_N = np.empty(len(value_N))
        for dx in np.unique(questions.class_N):
            rows = questions.class_N == dx
            score_N[rows] = standardised(value_N[rows]) + scale * noise_N[rows]
        return score_N

    def choose(
        self, state: QueryState, value_N: Scores, questions: OpenQuestions, rng: np.random.Generator
    ) -> Query:
        """Ask about the candidates of highest value, perturbed. ``state`` must be in the order of ``by_image_id``."""
        score_N = self.perturbed(state, value_N, questions, rng)
        while questions.left:
            rows = questions.rows()
            questions.take(int(rows[np.argmax(score_N[rows])]))
        return Query(chosen=np.array(questions.chosen, dtype=np.int64), value_N=value_N)

    def choose_in_turns(
        self,
        state: QueryState,
        value_N: Scores,
        update: Update,
        questions: OpenQuestions,
        rng: np.random.Generator,
    ) -> Query:
        """Ask one by one, where a question changes what the others are worth; noise is drawn again at every turn.

        Returns:
            The questions; the value of one that is asked is that of its turn, of any other that as the next one.
        """
        at_turn: list[float] = []
        while questions.left:
            rows = questions.rows()
            row = int(rows[np.argmax(self.perturbed(state, value_N, questions, rng)[rows])])
            at_turn.append(float(value_N[row]))
            questions.take(row)
            value_N = update(row)
        chosen = np.array(questions.chosen, dtype=np.int64)
        value_N = value_N.copy()
        value_N[chosen] = at_turn
        return Query(chosen=chosen, value_N=value_N)


@register("query", "random")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Random(Ask):
    """Groups at random, then one image of each: the control; value is the draw of the group, in [0, 1).

    A lesion is as likely to be asked about as any other, however often it was photographed. With ``balanced`` this holds
    among lesions of a predicted class. Noise changes which, not how likely each is.
    """

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Draw groups without replacement, and an image uniformly in each."""
        state, order = by_image_id(state)
        group_N, drawn_N = groups_of(state), rng.random(len(state))
        highest = np.zeros(len(state))
        np.maximum.at(highest, group_N, drawn_N)
        questions = OpenQuestions(state, self.balanced, open_N=drawn_N == highest[group_N])
        value_N = rng.random(questions.groups)[group_N]
        return as_given(self.choose(state, value_N, questions, rng), order)
