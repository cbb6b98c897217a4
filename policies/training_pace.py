"""Mining policies that look at how training goes: images that are learned late or slowly.

Legend: R rounds, N images, C classes.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import BoolArray, HardCases, MiningState
from policies.base import STRICT
from policies.mining import Cut, Scores, by_image_id, losses
from policies.registry import register

LONGEST = 100
"""Passes of k-means at most; two clusters settle in far fewer."""


@register("mining", "medium_hard")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class MediumHard(Cut):
    """A band of the loss averaged over rounds: slowly learned images, without the hopeless and often mislabelled.

    The hardest images by loss are mostly noise; those of middling loss teach most (Swayamdipta et al. 2020, "ambiguous";
    Paul et al. 2021). score is the mean loss over all rounds so far, nats.
    """

    low: float = Field(0.6, ge=0.0, le=1.0, description="quantile of the mean loss at which the band begins")
    high: float = Field(0.95, ge=0.0, le=1.0, description="quantile of the mean loss at which it ends")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images of the band by falling mean loss."""
        state = by_image_id(state)
        if not len(state.predictions):
            return self.keep(state, np.zeros(0))
        seen = [p.take(np.argsort(p.image_id, kind="stable")) for p in state.history]
        loss_RN = [losses(p) for p in (*seen, state.predictions)]
        score_N = np.mean(loss_RN, axis=0)
        bounds = np.quantile(score_N, [self.low, self.high])
        return self.keep(state, score_N, (score_N >= bounds[0]) & (score_N <= bounds[1]))


@register("mining", "slow_learner")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class SlowLearner(Cut):
    """The images that are not learned early in training, which gain most from synthetic ones (TADA: Nguyen et al. 2025).

    As in USEFUL (Nguyen et al. 2024), each class falls into two clusters by the outputs of an early classifier, and the
    cluster with the higher mean loss is taken; here the outputs are out of fold. score is the early loss in nats. A class
    whose early losses are all the same is taken whole.
    """

    wants_early: ClassVar[bool] = True

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images of every class's slow cluster by falling early loss.

        Raises:
            ValueError: the state has no early predictions.
        """
        state = by_image_id(state)
        if state.early is None:
            raise ValueError(
                "the policy asked for early predictions (its attribute wants_early) and got none"
            )
        prob_NC = np.asarray(state.early.prob_NC, dtype=np.float64)
        loss_N = losses(state.early)
        slow_N = np.zeros(len(loss_N), dtype=np.bool_)
        for label in np.unique(state.predictions.label_N):
            rows = np.flatnonzero(state.predictions.label_N == label)
            slow_N[rows] = slow_cluster(prob_NC[rows], loss_N[rows])
        return self.keep(state, loss_N, slow_N)


def slow_cluster(prob_NC: Scores, loss_N: Scores) -> BoolArray:
    """Return which images lie in the one of two clusters with the higher mean loss (k-means: Lloyd 1982), (N,).

    The clusters start from the images of lowest and of highest loss, so the result needs no random start. Where all losses
    are the same there is no slower cluster, and all images are returned.
    """
    center_2C = prob_NC[[int(np.argmin(loss_N)), int(np.argmax(loss_N))]]
    second_N = np.zeros(len(prob_NC), dtype=np.bool_)
    for _ in range(LONGEST):
        gap_N2 = ((prob_NC[:, None] - center_2C[None]) ** 2).sum(axis=2)
        before, second_N = second_N, gap_N2[:, 1] < gap_N2[:, 0]
        if not second_N.any():
            return np.ones(len(prob_NC), dtype=np.bool_)
        if np.array_equal(before, second_N):
            break
        center_2C = np.stack([prob_NC[~second_N].mean(axis=0), prob_NC[second_N].mean(axis=0)])
    return second_N if loss_N[second_N].mean() >= loss_N[~second_N].mean() else ~second_N
