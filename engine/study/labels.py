"""What bought labels are worth: how many more random asking needs for the same figure, and how many images one replaces.

A curve is a figure of one arm by the labels asked for so far. An image counts from when it is asked about, whatever came
back: "I cannot tell" costs a reader as much as a class does.

An interval draws test lesions and, where several replicates share them, training sets too, independently (Owen 2007). It is
one of percentiles: too narrow with few training sets; no t interval stands beside it, since amounts may be infinite.

Shape legend: R replicates, B bootstrap draws, P points of a curve (rounds), the first of them without labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.evaluation.statistics import LEVEL

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A figure of one arm by the labels asked for; more is better.

    Attributes:
        arm: the arm.
        asked_P: labels asked for so far, rising.
        value_RP: the figure of each replicate on its whole test part.
        drawn_RBP: the same in draws of test lesions, draw b being the same lesions for every arm and round.
    """

    arm: str
    asked_P: Floats
    value_RP: Floats
    drawn_RBP: Floats

    def __post_init__(self) -> None:
        replicates, draws, points = self.drawn_RBP.shape
        if self.value_RP.shape != (replicates, points) or self.asked_P.shape != (points,) or draws < 1:
            raise ValueError(
                f"{self.arm}: {self.asked_P.shape}, {self.value_RP.shape} and {self.drawn_RBP.shape} do not fit"
            )

    @property
    def mean_P(self) -> Floats:
        """The mean over replicates."""
        return np.asarray(self.value_RP.mean(axis=0))


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A number with its interval; infinite where it lies beyond all that was measured."""

    value: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        """Whether its interval lies above 0, so that something may be divided by it."""
        return self.low > 0


@dataclass(frozen=True, kw_only=True)
class Savings:
    """Labels that random asking needs for what a query policy reaches.

    Attributes:
        labels: those that the policy asked for.
        reached: the figure that it reached with them.
        needed: those that random asking needs for it; infinite where more than ``most``.
        most: the most that random asking has had.
    """

    labels: float
    reached: float
    needed: Amount
    most: float

    @property
    def saved(self) -> Amount | None:
        """The share of random asking's labels that the policy saves: 1 - labels / needed.

        None where the interval of needed holds 0. Where more than ``most`` are needed this is the share at ``most``, and the
        truth is more.
        """
        if not self.needed.above_zero:
            return None
        value, low, high = (
            1.0 - self.labels / min(needed, self.most)
            for needed in (self.needed.value, self.needed.low, self.needed.high)
        )
        return Amount(value=value, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What an arm gained over ``real``, and the number of labels or images that it had for it."""

    value: float
    drawn_B: Floats
    units: float


def resampled(curves: Sequence[Curve], *, crossed: bool, seed: int = 0) -> list[Floats]:
    """Return each curve in every draw, (B, P), the same lesions and replicates in all of them.

    Args:
        curves: of the same replicates and draws.
        crossed: whether replicates are drawn too, as where they share a test part; folds are not.
        seed: of the replicates drawn.

    Returns:
        Without the draws in which a value is undefined; none may be left.
    """
    replicates, draws, _ = curves[0].drawn_RBP.shape
    if crossed and replicates > 1:
        chosen_BR = np.random.default_rng([seed, replicates]).integers(
            0, replicates, size=(draws, replicates)
        )
        found = [curve.drawn_RBP[chosen_BR, np.arange(draws)[:, None]].mean(axis=1) for curve in curves]
    else:
        found = [curve.drawn_RBP.mean(axis=0) for curve in curves]
    known_B = np.all([np.isfinite(drawn_BP).all(axis=1) for drawn_BP in found], axis=0)
    return [drawn_BP[known_B] for drawn_BP in found]


def labels_needed(asked_P: Floats, value_P: Floats, reached_Q: Floats) -> Floats:
    """Return the fewest labels at which a curve reaches each of Q values, (Q,); infinite where it does not.

    The curve is made monotone (isotonic regression by least squares, scikit-learn's) and read linearly between its points.
    """
    from sklearn.isotonic import isotonic_regression

    rising_P = isotonic_regression(np.asarray(value_P, dtype=np.float64))
    first_Q = np.searchsorted(rising_P, reached_Q - 1e-12)
    found_Q = np.full(len(reached_Q), math.inf)
    found_Q[first_Q == 0] = asked_P[0]
    between_Q = (first_Q > 0) & (first_Q < len(rising_P))
    after = first_Q[between_Q]
    share = (reached_Q[between_Q] - rising_P[after - 1]) / (rising_P[after] - rising_P[after - 1])
    found_Q[between_Q] = asked_P[after - 1] + share * (asked_P[after] - asked_P[after - 1])
    return found_Q


def label_savings(query: Curve, random: Curve, *, crossed: bool, seed: int = 0) -> tuple[Savings, ...]:
    """Return the savings at every number of labels that the policy asked for, () where no draw defines both curves."""
    if not np.isfinite([*query.mean_P, *random.mean_P]).all():
        return ()
    query_BP, random_BP = resampled([query, random], crossed=crossed, seed=seed)
    if len(query_BP) == 0:
        return ()
    needed_P = labels_needed(random.asked_P, random.mean_P, query.mean_P)
    needed_BP = np.array(
        [
            labels_needed(random.asked_P, one_P, other_P)
            for one_P, other_P in zip(random_BP, query_BP, strict=True)
        ]
    )
    return tuple(
        Savings(
            labels=float(query.asked_P[point]),
            reached=float(query.mean_P[point]),
            needed=amount(float(needed_P[point]), needed_BP[:, point]),
            most=float(random.asked_P[-1]),
        )
        for point in range(1, len(query.asked_P))
    )


def label_worth(label: Gain, image: Gain) -> tuple[Amount | None, str]:
    """Return how many synthetic images gain what one label gains, (None, why) where that cannot be told.

    That is gain per label over gain per image. A ratio says nothing where its denominator may be 0: the interval of the
    images' gain has to lie above 0.
    """
    if label.units <= 0 or image.units <= 0:
        missing = "label was bought" if label.units <= 0 else "synthetic image was accepted"
        return None, f"no {missing}"
    if len(image.drawn_B) == 0 or not np.isfinite([label.value, image.value]).all():
        return None, "a gain is undefined: val or test lacks a class"
    if not amount(image.value, image.drawn_B).above_zero:
        return None, "the interval of the gain by synthetic images includes 0"
    scale = image.units / label.units
    with np.errstate(divide="ignore", invalid="ignore"):
        # where a draw's images gain nothing, no number of them gains what a label does
        ratio_B = np.where(
            image.drawn_B > 0, label.drawn_B / image.drawn_B, np.copysign(np.inf, label.drawn_B)
        )
    return amount(scale * label.value / image.value, scale * ratio_B), ""


def amount(value: float, drawn_B: Floats) -> Amount:
    """Return a value with the interval of its draws; the quantiles are draws themselves, since some may be infinite."""
    tail = (1.0 - LEVEL) / 2
    low = np.quantile(drawn_B, tail, method="lower")
    high = np.quantile(drawn_B, 1.0 - tail, method="higher")
    return Amount(value=value, low=float(low), high=float(high))
