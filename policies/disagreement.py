"""Several probabilities per image: who gives them, how far they disagree, and the mining policies that look for it.

Legend: T draws (or members of a committee), N images, C classes.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import DrawRequest, FloatArray, HardCases, MiningState
from policies.base import STRICT
from policies.mining import Cut, Scores, by_image_id, entropy
from policies.registry import register

CHUNK: Final = 8192
"""Images whose draws are looked at together, so that memory does not grow with the number of images."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DropoutDraws:
    """Monte-Carlo-dropout draws of the classifier, scored by their mutual information with its weights.

    Dropout acts on what the classifier's last layer sees.
    """

    draws: int = Field(30, ge=2, le=1000, description="Monte-Carlo-dropout draws")
    rate: float = Field(0.3, gt=0.0, lt=1.0, description="share of features dropped in a draw")

    @property
    def wanted(self) -> DrawRequest:
        """The draws that the stage is to make."""
        return DrawRequest(kind="dropout", count=self.draws, rate=self.rate)

    def score(self, draws_TNC: FloatArray | None) -> Scores:
        """Return H(mean p) - mean H(p), nats, (N,) (ValueError: no draws)."""
        return _in_chunks(draws_TNC, votes=False)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Members:
    """A committee of the classifier and the judge's folds, scored by how far its members disagree."""

    measure: Literal["kl", "votes"] = Field(
        "kl", description="kl: divergence from the mean; votes: entropy of first choices"
    )

    @property
    def wanted(self) -> DrawRequest:
        """The members whose probabilities the stage is to compute."""
        return DrawRequest(kind="committee")

    def score(self, draws_TNC: FloatArray | None) -> Scores:
        """Return the mean divergence from the mean, or the entropy of first choices, nats, (N,) (ValueError: no draws)."""
        return _in_chunks(draws_TNC, votes=self.measure == "votes")


@register("mining", "bald")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Bald(DropoutDraws, Cut):
    """Uncertainty of the classifier itself, without the ambiguity of the image: BALD (Houlsby et al. 2011; Gal et al. 2017).

    score = H(mean p) - mean H(p) over Monte-Carlo-dropout draws, nats: high where draws are sure and contradict each other.
    Dropout acts on what the classifier's last layer sees. Does not look at the label.
    """

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by falling mutual information."""
        state = by_image_id(state)
        return self.keep(state, self.score(state.draws_TNC))


@register("mining", "committee")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Committee(Members, Cut):
    """Query by committee (Seung et al. 1992): where the classifier and the judge's folds disagree.

    ``kl``: mean Kullback-Leibler divergence of the members from their mean, nats (McCallum and Nigam 1998). ``votes``:
    entropy of the members' first choices, nats (Dagan and Engelson 1995). Does not look at the label.
    """

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by falling disagreement."""
        state = by_image_id(state)
        return self.keep(state, self.score(state.draws_TNC))


def disagreement(draws_TNC: Scores) -> Scores:
    """Return H(mean p) - mean H(p), the mean divergence of T draws from their mean: nats, at least 0, (N,)."""
    return np.asarray(np.maximum(entropy(draws_TNC.mean(axis=0)) - entropy(draws_TNC).mean(axis=0), 0.0))


def vote_entropy(draws_TNC: Scores) -> Scores:
    """Return the entropy of the T first choices, nats, (N,)."""
    votes_TNC = np.eye(draws_TNC.shape[2])[draws_TNC.argmax(axis=2)]
    return entropy(votes_TNC.mean(axis=0))


def _in_chunks(draws_TNC: FloatArray | None, votes: bool) -> Scores:
    if draws_TNC is None:
        raise ValueError("the policy asked for draws (its attribute wanted) and got none")
    measure = vote_entropy if votes else disagreement
    starts = range(0, draws_TNC.shape[1], CHUNK)
    parts = [measure(draws_TNC[:, a : a + CHUNK].astype(np.float64)) for a in starts]
    return np.concatenate(parts) if parts else np.zeros(0)
