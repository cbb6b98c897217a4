"""Budget policies: how many synthetic images each hard case gets.

M hard cases; whatever the policy, counts (M,) are >= 0 and sum to the total exactly (no case: an empty array).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import BudgetState, HardCases, IntArray
from policies.base import STRICT
from policies.registry import register


@register("budget", "uniform")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Uniform:
    """Every hard case gets the same number of images; the remainder goes to the hardest, one each."""

    def allocate(self, state: BudgetState, rng: np.random.Generator) -> IntArray:
        """Return counts that differ by at most 1."""
        counts_M = np.zeros(len(state.cases), dtype=np.int64)
        ranked = by_hardness(state.cases)
        counts_M[ranked] = _shares(state.total, len(ranked))
        return counts_M


@register("budget", "images_per_parent")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class ImagesPerParent:
    """The same number of images for each parent, hardest first, until the total is spent; the next one gets the rest.

    Where there are too few parents for that, all get more, as ``uniform`` divides. Ours: several images of few parents
    where ``uniform`` makes few images of many.
    """

    images: int = Field(5, ge=1, description="images per parent")

    def allocate(self, state: BudgetState, rng: np.random.Generator) -> IntArray:
        """Return counts of ``images`` for the hardest, 0 for the last; classes do not matter."""
        ranked = by_hardness(state.cases)
        counts_M = np.zeros(len(ranked), dtype=np.int64)
        if self.images * len(ranked) < state.total:
            counts_M[ranked] = _shares(state.total, len(ranked))
            return counts_M
        spent_M = self.images * np.arange(len(ranked), dtype=np.int64)
        counts_M[ranked] = np.clip(state.total - spent_M, 0, self.images)
        return counts_M


@register("budget", "class_balanced")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClassBalanced:
    """Every class among the hard cases gets its share, divided evenly between its cases, hardest first.

    ``equal`` gives the classes the same number, as class-balanced sampling does (Kang et al. 2020); the remainder goes to
    the classes with the fewest training images, one each. ``even_out`` adds images one by one to the class with the
    fewest training + synthetic images: oversampling until classes are level (Japkowicz and Stephen 2002), with synthetic
    images instead of copies.
    """

    mode: Literal["equal", "even_out"] = Field(
        "equal",
        description="equal: the same number per class; even_out: until real + synthetic counts are level",
    )

    def allocate(self, state: BudgetState, rng: np.random.Generator) -> IntArray:
        """Return counts (M,); classes without a hard case get nothing."""
        classes = sorted({str(name) for name in state.cases.true})
        real = {name: state.class_counts.get(name, 0) for name in classes}
        start = real if self.mode == "even_out" else dict.fromkeys(classes, 0)
        share = fill_up(start, state.total, sorted(classes, key=lambda name: (real[name], name)))
        ranked = by_hardness(state.cases)
        counts_M = np.zeros(len(ranked), dtype=np.int64)
        for name in classes:
            members = ranked[state.cases.true[ranked] == name]
            counts_M[members] = _shares(share[name], len(members))
        return counts_M


@register("budget", "inverse_sensitivity")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class InverseSensitivity:
    """Classes the classifier misses most get most: shares in proportion to (1 - val sensitivity) ^ power.

    The class weights of the class-wise difficulty-balanced loss (Sinha et al. 2020), here as shares of a budget. A class
    whose sensitivity is unknown counts as the mean of the known ones (0.5 where none is). A class's images are divided
    evenly between its cases.
    """

    power: float = Field(1.0, ge=0.0, description="above 1: more to the weakest classes; 0: equal shares")
    floor: float = Field(
        0.05,
        gt=0.0,
        le=1.0,
        description="lower bound of a class's miss rate, so that every class gets a share",
    )

    def allocate(self, state: BudgetState, rng: np.random.Generator) -> IntArray:
        """Return counts (M,); classes without a hard case get nothing."""
        classes = sorted({str(name) for name in state.cases.true})
        known = [state.sensitivity[name] for name in classes if name in state.sensitivity]
        usual = float(np.mean(known)) if known else 0.5
        missed = {name: max(1.0 - state.sensitivity.get(name, usual), self.floor) for name in classes}
        most = max(missed.values(), default=1.0)  # the largest weight is 1: no power makes all of them 0
        return by_class(state, {name: (value / most) ** self.power for name, value in missed.items()})


@register("budget", "bandit")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Bandit:
    """Classes that gained from images before get more: Thompson sampling over classes (Thompson 1933; Russo et al. 2018).

    A class's gain per round (change of val sensitivity) is normal around an unknown mean with prior N(0, prior_std^2).
    One mean per class is drawn from its posterior; shares are the softmax of the means at ``temperature``.
    """

    prior_std: float = Field(
        0.05, gt=0.0, description="how large a class's mean gain may be before anything is seen"
    )
    noise_std: float = Field(
        0.05, gt=0.0, description="how much the gain of one round scatters around its mean"
    )
    temperature: float = Field(
        0.03, gt=0.0, description="small: nearly all images go to the class with the best draw"
    )

    def allocate(self, state: BudgetState, rng: np.random.Generator) -> IntArray:
        """Return counts (M,); classes without a hard case get nothing."""
        classes = sorted({str(name) for name in state.cases.true})
        drawn = rng.standard_normal(len(classes))
        value = np.array(
            [self._mean(state, n) + self._std(state, n) * z for n, z in zip(classes, drawn, strict=True)]
        )
        weight = np.exp((value - value.max(initial=-np.inf)) / self.temperature) if classes else value
        return by_class(state, dict(zip(classes, weight.tolist(), strict=True)))

    def _gains(self, state: BudgetState, name: str) -> list[float]:
        return [gain[name] for gain in state.gain_history if name in gain]

    def _mean(self, state: BudgetState, name: str) -> float:
        """Posterior mean of a class's gain."""
        return self._std(state, name) ** 2 * sum(self._gains(state, name)) / self.noise_std**2

    def _std(self, state: BudgetState, name: str) -> float:
        """Posterior standard deviation of a class's gain."""
        return float((self.prior_std**-2 + len(self._gains(state, name)) * self.noise_std**-2) ** -0.5)


def by_class(state: BudgetState, weight: Mapping[str, float]) -> IntArray:
    """Divide the total between classes in proportion to ``weight`` (largest remainder), then evenly between their cases.

    Remainders go to the larger fraction, ties to the class with fewest training images, then by name.
    """
    classes = sorted(weight)
    counts_M = np.zeros(len(state.cases), dtype=np.int64)
    if not classes:
        return counts_M
    exact = state.total * np.array([weight[name] for name in classes]) / sum(weight.values())
    share = np.floor(exact + 1e-9).astype(np.int64)
    real = [state.class_counts.get(name, 0) for name in classes]
    first = np.lexsort((np.array(classes), np.array(real), -np.round(exact - share, 9)))
    share[first[: state.total - share.sum()]] += 1
    ranked = by_hardness(state.cases)
    for name, count in zip(classes, share.tolist(), strict=True):
        members = ranked[state.cases.true[ranked] == name]
        counts_M[members] = _shares(count, len(members))
    return counts_M


def fill_up(start: Mapping[str, int], total: int, order: Sequence[str]) -> dict[str, int]:
    """Add ``total`` items one by one to the class with the fewest, ties to the earlier in ``order``.

    Returns:
        How many each class got; the values sum to ``total`` (no class: an empty mapping).
    """
    heap = [(start[name], rank, name) for rank, name in enumerate(order)]
    heapq.heapify(heap)
    for _ in range(total if heap else 0):
        count, rank, name = heap[0]
        heapq.heapreplace(heap, (count + 1, rank, name))
    return {name: count - start[name] for count, _, name in heap}


def by_hardness(cases: HardCases) -> IntArray:
    """Return the positions of the cases, hardest first, ties by image_id."""
    return np.lexsort((cases.image_id, -cases.score)).astype(np.int64)


def _shares(total: int, parts: int) -> IntArray:
    """Divide ``total`` into ``parts`` as equal as possible, the larger first."""
    if parts == 0:
        return np.zeros(0, dtype=np.int64)
    return total // parts + (np.arange(parts, dtype=np.int64) < total % parts)
