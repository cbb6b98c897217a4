"""The frozen records that stages, policies and reports exchange; numpy only.

Shape legend: N images, M hard cases, S samples, C classes, L levels, D width, F features, K neighbours, H height,
W width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

StrArray = npt.NDArray[np.str_]
"""A numpy array of unicode strings (dtype ``<U..``), never of Python objects."""
FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]
"""Images as uint8 RGB, (N, H, W, 3), 0-255; masks as uint8 (N, H, W), 0 or 255."""

SPLITS: Final = ("train", "mine", "val", "test")
"""The four parts of a split, in the order they are reported."""
UNLABELLED: Final = "unlabelled"
"""The part of images without a diagnosis: not learned from by any classifier, nor decided or reported on."""


def strings(values: Sequence[Any] | npt.NDArray[Any]) -> StrArray:
    """Return ``values`` as a unicode array; None and NaN become the empty string."""
    return np.array(
        ["" if v is None or (isinstance(v, float) and np.isnan(v)) else str(v) for v in values], dtype=np.str_
    )


def _same_length(record: object, names: Sequence[str]) -> None:
    lengths = {name: len(getattr(record, name)) for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{type(record).__name__}: fields differ in length: {lengths}")


@dataclass(frozen=True, kw_only=True)
class LesionTable:
    """One row an image, N rows sorted by ``image_id``; several rows may show one lesion.

    ``dx`` is "" where the diagnosis is not known. ``split`` is one of SPLITS, UNLABELLED, or "" before splitting;
    ``origin`` is "real" or "synthetic". Unknown age is NaN, unknown text "". ``skin_type`` is the Fitzpatrick type as the
    data set writes it. ``path`` and ``mask_path`` are "" where an image has no file of its own (npz, phantoms).
    """

    image_id: StrArray
    lesion_id: StrArray
    patient_id: StrArray
    dx: StrArray
    split: StrArray
    origin: StrArray
    age: FloatArray
    sex: StrArray
    localization: StrArray
    skin_type: StrArray
    path: StrArray
    mask_path: StrArray

    def __post_init__(self) -> None:
        _same_length(self, [f.name for f in dataclasses.fields(self)])

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names present, sorted."""
        return tuple(sorted({str(v) for v in self.dx} - {""}))

    @property
    def labelled_N(self) -> BoolArray:
        """Which images have a diagnosis."""
        return np.asarray(self.dx != "", dtype=np.bool_)

    def take(self, rows: npt.NDArray[Any]) -> LesionTable:
        """Return the given rows (integer or boolean index), in the order given."""
        return LesionTable(**{f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self)})

    def replace(self, **columns: Any) -> LesionTable:
        """Return a copy with the given columns exchanged."""
        return dataclasses.replace(self, **columns)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Calibrated class probabilities of N images; ``prob_NC`` rows sum to 1, columns follow ``classes``."""

    image_id: StrArray
    classes: tuple[str, ...]
    prob_NC: FloatArray
    label_N: IntArray
    split: StrArray

    def __post_init__(self) -> None:
        _same_length(self, ["image_id", "prob_NC", "label_N", "split"])

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def predicted_N(self) -> IntArray:
        """Index of the most probable class."""
        return np.asarray(np.argmax(self.prob_NC, axis=1), dtype=np.int64)

    def take(self, rows: npt.NDArray[Any]) -> Predictions:
        """Return the given rows (integer or boolean index)."""
        return dataclasses.replace(
            self,
            image_id=self.image_id[rows],
            prob_NC=self.prob_NC[rows],
            label_N=self.label_N[rows],
            split=self.split[rows],
        )


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What of a run's config decides whether a policy can work in it: ``loop.mine_from`` and ``synthesis.generator``."""

    mine_from: str
    generator: str


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
        _same_length(self, ["image_id", "true", "predicted", "score"])

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


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """M cases with their K retrieved same-class train neighbours, nearest first.

    ``levels_MLD`` are the cases' own embeddings, ``neighbour_levels_MKLD`` the neighbours'; a missing neighbour
    has id "" and similarity -inf (fewer than K lesions of the class exist). ``other_...`` are neighbours of the class
    that the case is taken for, in the same form, where the mixing policy asked for them (else None).
    """

    image_id: StrArray
    dx: StrArray
    levels_MLD: FloatArray
    neighbour_ids_MK: StrArray
    similarity_MK: FloatArray
    neighbour_levels_MKLD: FloatArray
    other_ids_MK: StrArray | None = None
    other_similarity_MK: FloatArray | None = None
    other_levels_MKLD: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What a mixing policy decides for S samples: which embeddings, in which shares, condition each.

    ``neighbour_ids_SK`` and ``weights_SK`` name the sources (the parent itself may be among them); weights of a row
    sum to 1, an unused slot has id "" and weight 0.
    """

    levels_SLD: FloatArray
    parent_image_id: StrArray
    neighbour_ids_SK: StrArray
    weights_SK: FloatArray


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What S samples are conditioned on; ``label_S`` are class names, ``seed_S`` the samples' own noise seeds.

    ``difficulty_S`` is the rank of a sample's parent among the round's parents, from 0 (easiest) to 1 (hardest).
    """

    sample_id: StrArray
    levels_SLD: FloatArray
    label_S: StrArray
    parent_image_id: StrArray
    neighbour_ids_SK: StrArray
    weights_SK: FloatArray
    seed_S: IntArray
    difficulty_S: FloatArray

    def __post_init__(self) -> None:
        _same_length(self, [f.name for f in dataclasses.fields(self)])

    def __len__(self) -> int:
        return len(self.sample_id)


@dataclass(frozen=True, kw_only=True)
class AcceptanceState:
    """What an acceptance policy may look at, one entry a synthetic image (S of them).

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
        _same_length(self, ["sample_id", "parent_image_id", *candidates])
        _same_length(self, [name for name in names if name.startswith("real_")])

    def __len__(self) -> int:
        return len(self.sample_id)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which candidates are kept, and what the policy holds each of the S worth (higher is better; its own unit)."""

    keep_S: BoolArray
    value_S: FloatArray

    def __post_init__(self) -> None:
        _same_length(self, ["keep_S", "value_S"])


@dataclass(frozen=True, kw_only=True)
class StoppingState:
    """What a stopping policy may look at: the val metric object of each finished round of arm ``hard``.

    ``values`` is the watched metric a round, round 0 first; ``val`` the whole val metric objects (report.json's);
    ``accepted`` the synthetic images accepted in each round (0 in round 0); ``planned`` is ``loop.rounds``.
    """

    round: int
    planned: int
    values: tuple[float, ...]
    val: tuple[Mapping[str, Any], ...] = ()
    accepted: tuple[int, ...] = ()


class Action(StrEnum):
    """How a round ends. A stopping policy says one of the first three."""

    CONTINUE = "continue"
    STOP = "stop"
    ROLL_BACK = "roll_back"
    """Stop and keep an earlier round."""
    REVIEW = "review"
    """The loop waits until a person has looked at images."""
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class StopDecision:
    """What happens after a round, with the reason.

    ``keep_round``, of a roll-back: no later round may be champion. Without it, only the round just finished may not.
    """

    action: Action
    reason: str
    keep_round: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "action", Action(self.action))  # a plug-in may write its text
