"""How an arm's added images are mixed into batches: a fixed share of each, and none at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.config import MixConfig
from engine.training.plan import FloatWeights, TrainPlan, draw_rows
from engine.types import BoolArray, IntArray


@dataclass(frozen=True, kw_only=True)
class MixedBatches:
    """Draws the global batch of a step from own images and added ones apart (a ``Draw`` of ``engine.training.loop.train``).

    ``weights_N`` are the sampling weights of all N images, ``added_N`` says which an arm adds to the classifier's own.
    """

    weights_N: FloatWeights
    added_N: BoolArray
    mix: MixConfig
    plan: TrainPlan

    def __call__(self, step: int) -> IntArray:
        """Return the rows (batch_size,) of a 0-based step."""
        own, added = np.flatnonzero(~self.added_N), np.flatnonzero(self.added_N)
        if len(own) == 0 or len(added) == 0:
            return draw_rows(self.weights_N, self.plan, step)
        if step >= self.plan.steps - self.mix.finish_on_real:
            return self._draw(own, self.plan.batch_size, "own", step)
        if self.mix.share is None:
            return draw_rows(self.weights_N, self.plan, step)
        count = round(self.mix.share * self.plan.batch_size)
        halves = [
            self._draw(rows, size, name, step)
            for rows, size, name in ((own, self.plan.batch_size - count, "own"), (added, count, "added"))
            if size > 0
        ]
        return np.concatenate(halves)

    def _draw(self, rows: IntArray, size: int, name: str, step: int) -> IntArray:
        """Draw ``size`` of ``rows`` by their weights, as ``draw_rows`` does for all images."""
        plan = replace(self.plan, name=f"{self.plan.name} {name}", batch_size=size)
        return rows[draw_rows(self.weights_N[rows], plan, step)]
