"""What mining and budget policies see and decide: hard cases, and the draws that some policies ask for.

Shape legend: N images, M hard cases, C classes, T draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.types.arrays import FloatArray, StrArray, same_length
from engine.types.images import Predictions


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What of a run's config decides whether a policy can work in it.

    ``loop.mine_from``, ``synthesis.generator`` and ``loop.candidates``.
    """

    mine_from: str
    generator: str
    candidates: float = 1.0


@dataclass(frozen=True, kw_only=True)
class DrawRequest:
    """Several probabilities per image that a mining policy asks for (it declares them as ``wanted``).

    ``dropout``: ``count`` passes of the classifier's last layer with its input dropped out at ``rate`` (Monte-Carlo
    dropout). ``committee``: the classifier and every fold of the judge, one each.
    """

    kind: Literal["dropout", "committee"]
    count: int = 0
    rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MiningState:
    """What a mining policy may look at: this round's predictions on the mined images, and earlier rounds'.

    ``lesion_id`` groups photographs of one lesion; ``malignant`` names the malignant classes (may be empty);
    ``history`` holds earlier rounds' predictions on the same images, oldest first; ``draws_TNC`` holds T
    Monte-Carlo-dropout or committee probabilities where the policy asked for them (else None); ``early`` holds the
    out-of-fold predictions of the same images by fits stopped early, where the policy asked for them (else None).
    """

    predictions: Predictions
    lesion_id: StrArray
    round: int
    malignant: tuple[str, ...] = ()
    history: tuple[Predictions, ...] = ()
    draws_TNC: FloatArray | None = None
    early: Predictions | None = None


@dataclass(frozen=True, kw_only=True)
class HardCases:
    """M mined images, hardest first; ``true`` and ``predicted`` are class names, ``score`` is the policy's."""

    image_id: StrArray
    true: StrArray
    predicted: StrArray
    score: FloatArray

    def __post_init__(self) -> None:
        same_length(self, ["image_id", "true", "predicted", "score"])

    def __len__(self) -> int:
        return len(self.image_id)


@dataclass(frozen=True, kw_only=True)
class BudgetState:
    """What a budget policy may look at.

    ``total`` images are to be distributed; ``class_counts`` counts real training images per class;
    ``sensitivity`` is the current val sensitivity per class; ``gain_history`` holds one mapping a finished round:
    the change of val sensitivity per class.
    """

    cases: HardCases
    total: int
    round: int
    class_counts: Mapping[str, int] = field(default_factory=dict)
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    gain_history: tuple[Mapping[str, float], ...] = ()
