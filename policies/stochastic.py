"""Chance instead of the best k: Gumbel noise, and the mining policy that draws by a power of the loss.

Legend: N images.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import HardCases, MiningState
from policies.base import STRICT
from policies.mining import SMALLEST_PROBABILITY, Cut, Scores, by_image_id, lesions_of, losses
from policies.registry import register


@register("mining", "power")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Power(Cut):
    """Images drawn with a chance that grows with their loss, so that cases differ more than the hardest do.

    The power acquisition of Kirsch et al. 2021: the largest log loss + temperature * Gumbel noise are kept, a sample
    without replacement (Gumbel-top-k: Kool et al. 2019) with chances proportional to loss ^ (1 / temperature). score is
    the exponential of that sum: the loss in nats times chance. ``min_score`` and ``max_score`` bound the loss itself. With
    ``per_lesion`` all images of a lesion share their noise.
    """

    temperature: float = Field(
        1.0,
        gt=0.0,
        le=10.0,
        description="scale of the noise; small: nearly the hardest, large: nearly at random",
    )

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images drawn, by falling perturbed loss."""
        state = by_image_id(state)
        loss_N = losses(state.predictions)
        if self.per_lesion:
            lesions, lesion_N = np.unique(lesions_of(state), return_inverse=True)
            noise_N = gumbel(rng, len(lesions))[lesion_N]
        else:
            noise_N = gumbel(rng, len(loss_N))
        score_N = np.maximum(loss_N, SMALLEST_PROBABILITY) * np.exp(self.temperature * noise_N)
        return self.keep(state, score_N, bounded_N=loss_N)


def gumbel(rng: np.random.Generator, count: int) -> Scores:
    """Return standard Gumbel noise: adding it to log weights and taking the largest k draws k without replacement."""
    return np.asarray(rng.gumbel(size=count))
