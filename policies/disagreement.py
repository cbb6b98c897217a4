"""Mining policies that ask several classifiers: images on which they contradict each other are hard.

Legend: T draws (or members of a committee), N images, C classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import DrawRequest, HardCases, MiningState
from policies.base import STRICT
from policies.mining import Cut, Scores, by_image_id, entropy
from policies.registry import register


@register("mining", "bald")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Bald(Cut):
    """Uncertainty of the classifier itself, without the ambiguity of the image: BALD (Houlsby et al. 2011; Gal et al. 2017).

    score = H(mean p) - mean H(p) over Monte-Carlo-dropout draws, nats: high where draws are sure and contradict each other.
    Dropout acts on what the classifier's last layer sees. Does not look at the label.
    """

    draws: int = Field(30, ge=2, le=1000, description="Monte-Carlo-dropout draws")
    rate: float = Field(0.3, gt=0.0, lt=1.0, description="share of features dropped in a draw")

    @property
    def wanted(self) -> DrawRequest:
        """The draws the mine stage is to make."""
        return DrawRequest(kind="dropout", count=self.draws, rate=self.rate)

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by falling mutual information."""
        state = by_image_id(state)
        return self.keep(state, disagreement(_draws(state)))


@register("mining", "committee")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Committee(Cut):
    """Query by committee (Seung et al. 1992): where the classifier and the judge's folds disagree.

    ``kl``: mean Kullback-Leibler divergence of the members from their mean, nats (McCallum and Nigam 1998). ``votes``:
    entropy of the members' first choices, nats (Dagan and Engelson 1995). Does not look at the label.
    """

    measure: Literal["kl", "votes"] = Field(
        "kl", description="kl: divergence from the mean; votes: entropy of first choices"
    )

    @property
    def wanted(self) -> DrawRequest:
        """The members whose probabilities the mine stage is to compute."""
        return DrawRequest(kind="committee")

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by falling disagreement."""
        state = by_image_id(state)
        draws_TNC = _draws(state)
        if self.measure == "kl":
            return self.keep(state, disagreement(draws_TNC))
        votes_TNC = np.eye(draws_TNC.shape[2])[draws_TNC.argmax(axis=2)]
        return self.keep(state, entropy(votes_TNC.mean(axis=0)))


def disagreement(draws_TNC: Scores) -> Scores:
    """Return H(mean p) - mean H(p), the mean divergence of T draws from their mean: nats, at least 0, (N,)."""
    return np.asarray(np.maximum(entropy(draws_TNC.mean(axis=0)) - entropy(draws_TNC).mean(axis=0), 0.0))


def _draws(state: MiningState) -> Scores:
    if state.draws_TNC is None:
        raise ValueError("the policy asked for draws (its attribute wanted) and got none")
    return np.asarray(state.draws_TNC, dtype=np.float64)
