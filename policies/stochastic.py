"""Chance instead of the best k: Gumbel noise, the parameters that set it, and the mining policy that draws by loss.

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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Noise:
    """How far chance decides, a parameter of every policy that picks the highest values.

    Noise is added to values standardised among those that compete, so that a scale means the same for every policy, class
    and round, and values below 0 are allowed, which have no logarithm. The largest sums are kept: a sample without
    replacement from the softmax of value / noise (Gumbel-top-k: Kool et al. 2019), the softmax acquisition of Kirsch et
    al. 2021.
    """

    noise: float = Field(
        0.0, ge=0.0, description="scale of the Gumbel noise, in standard deviations of the values; 0: none"
    )
    cooling: float = Field(
        1.0, ge=0.0, le=1.0, description="the noise is multiplied by it in every round after the first"
    )

    def __post_init__(self) -> None:
        if self.cooling < 1.0 and self.noise == 0.0:
            raise ValueError(
                f"cooling {self.cooling:g} has no effect with noise: 0; raise noise or remove it"
            )

    def scale(self, round: int) -> float:
        """Return the scale of the noise in a round, counted from 1."""
        return float(self.noise * self.cooling ** max(round - 1, 0))


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


def standardised(value: Scores) -> Scores:
    """Return values with mean 0 and standard deviation 1; all 0 where they are equal."""
    spread = value.std() if len(value) else 0.0
    return np.asarray((value - value.mean()) / spread) if spread > 0 else np.zeros(len(value))
