"""Mining policies: which of the images per classifier was not trained on are hard.

Legend: N images, C classes, M hard cases. All scores grow with hardness; ties are broken by image_id.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.errors import ConfigError
from engine.types import BoolArray, HardCases, MiningState, Predictions, StrArray
from policies.base import STRICT
from policies.registry import register

Scores = npt.NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-12
"""Probabilities are raised to this before a logarithm, so that a loss is at most 27.6."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Cut:
    """The parameters every mining policy has: how many of the scored images it keeps."""

    top_k: int | None = Field(64, ge=1, description="most hard cases kept, hardest first; null: all")
    min_score: float | None = Field(None, description="least score of a hard case; null: no bound")
    max_score: float | None = Field(
        None, description="largest score of a hard case (drops the hopeless); null: no bound"
    )
    per_lesion: bool = Field(True, description="keep only the hardest image of a lesion")

    def __post_init__(self) -> None:
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise ValueError(f"min_score {self.min_score:g} exceeds max_score {self.max_score:g}")

    def keep(
        self,
        state: MiningState,
        score_N: Scores,
        eligible_N: BoolArray | None = None,
        bounded_N: Scores | None = None,
    ) -> HardCases:
        """Return the eligible images within the bounds, hardest first, at most ``top_k``.

        ``state`` must be in the order of ``by_image_id``. The bounds hold ``bounded_N``; None: the score itself.
        """
        keep_N = np.ones(len(score_N), dtype=np.bool_) if eligible_N is None else eligible_N.copy()
        held_N = score_N if bounded_N is None else bounded_N
        if self.min_score is not None:
            keep_N &= held_N >= self.min_score
        if self.max_score is not None:
            keep_N &= held_N <= self.max_score
        order = np.argsort(-score_N, kind="stable")
        order = order[keep_N[order]]
        if self.per_lesion:
            _, first = np.unique(lesions_of(state)[order], return_index=True)
            order = order[np.sort(first)]
        return _cases(state, order[: self.top_k], score_N)


@register("mining", "misclassified")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Misclassified(Cut):
    """The images whose most probable class is wrong; score 1 - p_true. May find none.

    What G. R. Silva's protocol mines (see README, Sources); retraining on a detector's mistakes goes back to the
    bootstrapping of Sung and Poggio 1998.
    """

    top_k: int | None = Field(None, ge=1, description="most hard cases kept, hardest first; null: all")

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the misclassified images, the true class's least probable first."""
        state = by_image_id(state)
        wrong_N = state.predictions.predicted_N != state.predictions.label_N
        return self.keep(state, 1.0 - _true_probability(state), wrong_N)


@register("mining", "margin")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Margin(Cut):
    """Largest wrong class's probability minus the true class's, in [-1, 1]; above 0 where misclassified.

    The margin of Schapire et al. 1998 with its sign reversed. It looks at the label; the margin sampling of Scheffer et
    al. 2001, for images without one, takes the gap between the two most probable classes instead.
    """

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by falling margin: confident mistakes, then near ties, then sure hits."""
        state = by_image_id(state)
        wrong_NC = np.array(state.predictions.prob_NC, dtype=np.float64)
        wrong_NC[np.arange(len(wrong_NC)), state.predictions.label_N] = -np.inf
        return self.keep(state, wrong_NC.max(axis=1) - _true_probability(state))


@register("mining", "entropy")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Entropy(Cut):
    """Entropy (Shannon 1948) of the prediction over log C, in [0, 1]; does not look at the label.

    Uncertainty sampling by entropy, as in Settles 2009, Sec. 3.1.
    """

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by falling entropy -sum_c p_c log p_c / log C."""
        state = by_image_id(state)
        prob_NC = np.asarray(state.predictions.prob_NC, dtype=np.float64)
        terms_NC = prob_NC * np.log(np.maximum(prob_NC, SMALLEST_PROBABILITY))
        return self.keep(state, -terms_NC.sum(axis=1) / np.log(prob_NC.shape[1]))


@register("mining", "least_confidence")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class LeastConfidence(Cut):
    """1 - the largest probability, in [0, 1 - 1/C]; does not look at the label.

    Uncertainty sampling (Lewis and Gale 1994), for several classes as in Settles 2009, Sec. 3.1.
    """

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by rising confidence."""
        state = by_image_id(state)
        return self.keep(state, 1.0 - np.asarray(state.predictions.prob_NC, dtype=np.float64).max(axis=1))


@register("mining", "loss")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Loss(Cut):
    """Cross-entropy -log p_true in nats; with ``max_score`` the hopeless (often mislabelled) are left out.

    The score of online hard example mining (Shrivastava et al. 2016), here over whole images once per round.
    """

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by falling loss."""
        state = by_image_id(state)
        return self.keep(state, losses(state.predictions))


@register("mining", "missed_malignancy")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class MissedMalignancy(Cut):
    """Expected cost of the decision "malignant or not" (Elkan 2001): a missed malignancy costs more than a false alarm.

    score = miss_cost (1 - p_malignant) where the lesion is malignant, false_alarm_cost p_malignant where it is not.
    """

    miss_cost: float = Field(10.0, gt=0.0, description="cost of calling a malignant lesion benign")
    false_alarm_cost: float = Field(1.0, ge=0.0, description="cost of calling a benign lesion malignant")

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Return the images by falling expected cost.

        Raises:
            ConfigError: no class of the data is named in ``data.malignant``.
        """
        state = by_image_id(state)
        malignant_C = np.isin(np.array(state.predictions.classes), state.malignant)
        if not malignant_C.any():
            raise ConfigError(
                "policy.mining: missed_malignancy needs malignant classes, and data.malignant names none of "
                f"{', '.join(state.predictions.classes)}; name them, or use another policy"
            )
        risk_N = np.asarray(state.predictions.prob_NC, dtype=np.float64)[:, malignant_C].sum(axis=1)
        truly_N = malignant_C[state.predictions.label_N]
        return self.keep(
            state, np.where(truly_N, self.miss_cost * (1 - risk_N), self.false_alarm_cost * risk_N)
        )


@register("mining", "random")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Random(Cut):
    """Images at random, hard or not: the control; score is the draw in [0, 1)."""

    def mine(self, state: MiningState, rng: np.random.Generator) -> HardCases:
        """Draw without replacement; with ``per_lesion`` lesions are equally likely, however often photographed."""
        state = by_image_id(state)
        score_N = rng.random(len(state.predictions))
        if not self.per_lesion:
            return self.keep(state, score_N)
        lesions, lesion_N = np.unique(lesions_of(state), return_inverse=True)
        highest = np.zeros(len(lesions))
        np.maximum.at(highest, lesion_N, score_N)
        return self.keep(state, rng.random(len(lesions))[lesion_N], score_N == highest[lesion_N])


def by_image_id(state: MiningState) -> MiningState:
    """Return the state with its images sorted by image_id, so that no decision depends on the order given."""
    order = np.argsort(state.predictions.image_id, kind="stable")
    early = state.early
    return dataclasses.replace(
        state,
        predictions=state.predictions.take(order),
        lesion_id=state.lesion_id[order],
        draws_TNC=None if state.draws_TNC is None else state.draws_TNC[:, order],
        early=None if early is None else early.take(np.argsort(early.image_id, kind="stable")),
    )


def entropy(prob: Scores) -> Scores:
    """Return the entropy along the last axis, nats."""
    return np.asarray(-(prob * np.log(np.maximum(prob, SMALLEST_PROBABILITY))).sum(axis=-1))


def _true_probability(state: MiningState) -> Scores:
    return _of_label(state.predictions)


def _of_label(predictions: Predictions) -> Scores:
    rows = np.arange(len(predictions))
    return np.asarray(predictions.prob_NC[rows, predictions.label_N], dtype=np.float64)


def losses(predictions: Predictions) -> Scores:
    """Return the cross-entropy of each image, nats."""
    return np.asarray(-np.log(np.maximum(_of_label(predictions), SMALLEST_PROBABILITY)))


def lesions_of(state: MiningState) -> StrArray:
    """Return lesion ids; an image of unknown lesion is a lesion of its own."""
    return np.where(state.lesion_id == "", np.char.add("image:", state.predictions.image_id), state.lesion_id)


def _cases(state: MiningState, rows: npt.NDArray[np.intp], score_N: Scores) -> HardCases:
    names = np.array(state.predictions.classes, dtype=np.str_)
    return HardCases(
        image_id=state.predictions.image_id[rows],
        true=names[state.predictions.label_N[rows]],
        predicted=names[state.predictions.predicted_N[rows]],
        score=score_N[rows],
    )
