"""The seven decisions of a round, as Protocols: state in, decision out; no I/O, no torch, no ray.

A policy is a frozen dataclass; its fields are its YAML parameters, which pydantic checks. All randomness comes from
``rng``. Properties of a Protocol are declarations: facts about a policy that the engine reads before it asks for a
decision. A policy that leaves one out gets the Protocol's own value (``policies/declarations.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol, runtime_checkable

import numpy as np
from pydantic import ConfigDict

from engine.types import (
    AcceptanceState,
    BudgetState,
    DrawRequest,
    HardCases,
    IntArray,
    MiningState,
    Mixture,
    Neighbourhood,
    Query,
    QueryState,
    Selection,
    SelectionState,
    StopDecision,
    StoppingState,
    Verdicts,
)

STRICT: Final = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)
"""How pydantic checks parameters: "1" and true are no numbers, 1 is a valid float, NaN and infinity are refused."""


@runtime_checkable
class MiningPolicy(Protocol):
    """Decides which cases are hard."""

    @property
    def wanted(self) -> DrawRequest | None:
        """The probabilities that the policy needs in ``state.draws_TNC``; None (the default): it needs none.

        Draws come from classifiers trained on every train image. Such a policy cannot work with ``mine_from: crossfit``.
        """
        return None

    @property
    def wants_early(self) -> bool:
        """Whether ``state.early`` is needed, the predictions of fits stopped early; default False.

        Only the fits across folds leave such predictions: the policy needs ``mine_from: crossfit``.
        """
        return False

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

    @property
    def wants_other(self) -> bool:
        """Whether ``hood.other_...`` are needed, neighbours of the class a case is taken for; default False."""
        return False

    def mix(self, hood: Neighbourhood, counts_M: IntArray, rng: np.random.Generator) -> Mixture:
        """Return ``counts_M.sum()`` samples, case by case in the order of ``hood``."""
        ...


@runtime_checkable
class AcceptancePolicy(Protocol):
    """Decides which synthetic images may train."""

    @property
    def wants_review(self) -> bool:
        """Whether a person's verdicts are needed in ``state.verdict_S``; default False."""
        return False

    @property
    def rejects_train_images(self) -> bool:
        """Whether copies of train images are rejected; default False.

        Such a policy cannot work with ``synthesis.generator: retrieved``, which returns nothing else.
        """
        return False

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Return a verdict and, for rejected images, the reason."""
        ...


@runtime_checkable
class SelectionPolicy(Protocol):
    """Decides which of the candidates that passed the gates are kept."""

    @property
    def wants_real(self) -> bool:
        """Whether features and probabilities of real held-out lesions are needed in ``state.real_...``; default False."""
        return False

    @property
    def wants_candidates(self) -> bool:
        """Whether it means nothing without more candidates than are kept; default True, False of a control."""
        return True

    def select(self, state: SelectionState, rng: np.random.Generator) -> Selection:
        """Keep exactly min(``state.total``, passed) candidates, only passed ones, whatever the order of the input."""
        ...


@runtime_checkable
class QueryPolicy(Protocol):
    """Decides which unlabelled images a reader is asked about."""

    @property
    def wanted(self) -> DrawRequest | None:
        """The probabilities that the policy needs in ``state.draws_TNC``; None (the default): it needs none."""
        return None

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Choose exactly min(``state.total``, groups) images, at most one per group, whatever the order of the input."""
        ...


@runtime_checkable
class StoppingPolicy(Protocol):
    """Decides whether to go on, stop, or roll back."""

    def decide(self, state: StoppingState) -> StopDecision:
        """Return the decision after ``state.round`` finished."""
        ...


KINDS: Final[Mapping[str, type]] = {
    "mining": MiningPolicy,
    "budget": BudgetPolicy,
    "mixing": MixingPolicy,
    "acceptance": AcceptancePolicy,
    "selection": SelectionPolicy,
    "query": QueryPolicy,
    "stopping": StoppingPolicy,
}
"""The keys under ``policy`` in YAML, each with its Protocol."""
