"""The five decisions of a round, as Protocols: state in, decision out; no I/O, no torch, no ray.

A policy is a frozen dataclass; its fields are its YAML parameters. All randomness comes from ``rng``.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from engine.types import (
    AcceptanceState,
    BudgetState,
    HardCases,
    IntArray,
    MiningState,
    Mixture,
    Neighbourhood,
    StopDecision,
    StoppingState,
    Verdicts,
)


@runtime_checkable
class MiningPolicy(Protocol):
    """Decides which cases are hard.

    A policy that needs several probabilities an image says so by an attribute ``wanted`` (a ``DrawRequest``) and finds them
    in ``state.draws_TNC``.
    """

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the hard cases, hardest first, each image at most once, whatever the order of the input."""
        ...


@runtime_checkable
class BudgetPolicy(Protocol):
    """Decides how many images each hard case gets."""

    def allocate(self, state: BudgetState, rng: np.random.Generator) -> IntArray:
        """Return counts (M,) >= 0 that sum to ``state.total`` exactly."""
        ...


@runtime_checkable
class MixingPolicy(Protocol):
    """Decides which embeddings condition each sample."""

    def mix(self, hood: Neighbourhood, counts_M: IntArray, rng: np.random.Generator) -> Mixture:
        """Return ``counts_M.sum()`` samples, case by case in the order of ``hood``."""
        ...


@runtime_checkable
class AcceptancePolicy(Protocol):
    """Decides which synthetic images may train."""

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Return a verdict and, for rejected images, the reason."""
        ...


@runtime_checkable
class StoppingPolicy(Protocol):
    """Decides whether to go on, stop, or roll back."""

    def decide(self, state: StoppingState) -> StopDecision:
        """Return the decision after ``state.round`` finished."""
        ...
