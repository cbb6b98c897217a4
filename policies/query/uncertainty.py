"""Query policies that ask about the images of which the classifier, or a committee, is least sure.

Legend: N unlabelled candidates, C classes, T draws (or members of a committee).
"""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass

from engine.types import FloatArray, Query, QueryState
from policies.base import STRICT
from policies.disagreement import DropoutDraws, Members
from policies.mining import Scores, entropy
from policies.query.asking import Ask
from policies.query.open_questions import OpenQuestions, as_given, by_image_id
from policies.registry import register


@register("query", "margin")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Margin(Ask):
    """The images between two classes: 1 minus the gap of the two most probable ones, in [0, 1].

    The margin sampling of Scheffer et al. 2001.
    """

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Ask by rising gap."""
        state, order = by_image_id(state)
        questions = OpenQuestions(state, self.balanced)
        return as_given(self.choose(state, nearness(state.prob_NC), questions, rng), order)


@register("query", "entropy")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Entropy(Ask):
    """The images of which the classifier is least sure: entropy (Shannon 1948) over log C, in [0, 1].

    Uncertainty sampling by entropy, as in Settles 2009, Sec. 3.1.
    """

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Ask by falling entropy."""
        state, order = by_image_id(state)
        prob_NC = np.asarray(state.prob_NC, dtype=np.float64)
        value_N = entropy(prob_NC) / np.log(prob_NC.shape[1])
        return as_given(self.choose(state, value_N, OpenQuestions(state, self.balanced), rng), order)


@register("query", "bald")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Bald(DropoutDraws, Ask):
    """The images on which sure Monte-Carlo-dropout draws contradict each other: BALD (Houlsby et al. 2011; Gal et al. 2017).

    value = H(mean p) - mean H(p), nats: what the label would tell about the classifier's weights. An image that is
    ambiguous to every draw is worth nothing. Over a committee instead of dropout it is ``committee`` with ``measure: kl``.
    """

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Ask by falling mutual information (ValueError: the state has no draws)."""
        state, order = by_image_id(state)
        value_N = self.score(state.draws_TNC)
        return as_given(self.choose(state, value_N, OpenQuestions(state, self.balanced), rng), order)


@register("query", "committee")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Committee(Members, Ask):
    """Query by committee (Seung et al. 1992): where the classifier and the judge's folds disagree.

    ``kl``: mean Kullback-Leibler divergence of the members from their mean, nats (McCallum and Nigam 1998). ``votes``:
    entropy of the members' first choices, nats (Dagan and Engelson 1995).
    """

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Ask by falling disagreement (ValueError: the state has no draws)."""
        state, order = by_image_id(state)
        value_N = self.score(state.draws_TNC)
        return as_given(self.choose(state, value_N, OpenQuestions(state, self.balanced), rng), order)


def nearness(prob_NC: FloatArray) -> Scores:
    """Return 1 minus the gap of the two largest probabilities of each row, in [0, 1], (N,)."""
    two_N2 = np.partition(np.asarray(prob_NC, dtype=np.float64), -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (two_N2[:, 1] - two_N2[:, 0]))
