"""What acceptance and selection policies see of generated images, and decide.

Shape legend: S samples, N real lesions, C classes, F features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.types.arrays import BoolArray, FloatArray, IntArray, StrArray, same_length


@dataclass(frozen=True, kw_only=True)
class AcceptanceState:
    """What an acceptance policy may look at, one entry per synthetic image (S of them).

    ``judge_prob_SC`` are the independent judge's probabilities; ``nearest_train_distance_S`` is the cosine
    distance (0-2) of the fused embedding to the nearest real train image; ``train_distance_quantiles`` maps a
    percentile (1, 5, 25, 50, 75, 95, 99) to that of nearest distances between different real train lesions;
    ``verdict_S`` holds a person's verdicts ("accept", "reject" or "") where reviewed.
    """

    label_S: IntArray
    classes: tuple[str, ...]
    judge_prob_SC: FloatArray
    nearest_train_distance_S: FloatArray
    train_distance_quantiles: Mapping[int, float]
    judge_threshold: Mapping[str, float] = field(default_factory=dict)
    verdict_S: StrArray | None = None


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """An acceptance decision: ``accepted_S``, and for each rejected image the reason (else "")."""

    accepted_S: BoolArray
    reason_S: StrArray


@dataclass(frozen=True, kw_only=True)
class SelectionState:
    """What a selection policy may look at: S candidates, and N real train lesions where it asked for them.

    ``label_S`` is the intended class, ``target_SC`` the label a candidate would train with (one-hot or soft; rows sum to
    1), ``passed_S`` the verdict of the gates, ``feature_SF`` the classifier's last hidden layer. ``real_...`` are of
    lesions that the classifier, or its fold, did not train on; without rows where the policy does not want them.
    ``total`` candidates are to be kept; ``generated`` counts the candidates per class (a class it does not name has as
    many as ``label_S`` holds); ``round`` counts from 1.
    """

    sample_id: StrArray
    label_S: IntArray
    classes: tuple[str, ...]
    parent_image_id: StrArray
    passed_S: BoolArray
    judge_prob_SC: FloatArray
    classifier_prob_SC: FloatArray
    target_SC: FloatArray
    feature_SF: FloatArray
    real_feature_NF: FloatArray
    real_prob_NC: FloatArray
    real_label_N: IntArray
    total: int
    round: int
    generated: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [f.name for f in dataclasses.fields(self)]
        candidates = [name for name in names if name.endswith(("_S", "_SC", "_SF"))]
        same_length(self, ["sample_id", "parent_image_id", *candidates])
        same_length(self, [name for name in names if name.startswith("real_")])

    def __len__(self) -> int:
        return len(self.sample_id)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which candidates are kept, and what the policy holds each of the S worth (higher is better; its own unit)."""

    keep_S: BoolArray
    value_S: FloatArray

    def __post_init__(self) -> None:
        same_length(self, ["keep_S", "value_S"])
