"""Acceptance policies: which synthetic images may train.

Legend: S synthetic images, C classes. Reasons are short and stable, for counting and for the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from engine.errors import ConfigError
from engine.types import AcceptanceState, BoolArray, Verdicts
from policies.base import STRICT, AcceptancePolicy
from policies.registry import register

PERCENTILES: Final = (1, 5, 25, 50, 75, 95, 99)
"""The percentiles of distances between train lesions that are measured."""
_MEASURED: Final = f"one of {', '.join(map(str, PERCENTILES))}"


def _measured(percentile: int) -> int:
    if percentile not in PERCENTILES:
        raise ValueError(f"{percentile} is not {_MEASURED}")
    return percentile


Percentile = Annotated[int, AfterValidator(_measured)]
"""A percentile of distances between train lesions that is measured: one of PERCENTILES."""


@register("acceptance", "all")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class AcceptAll:
    """Every image, ungated: the control."""

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept all."""
        return _verdicts([""] * len(state.label_S))


@register("acceptance", "label_consistent")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class LabelConsistent:
    """The images that an independent judge assigns to the intended class.

    As He et al. 2023 drop images in which CLIP finds the class with little confidence; here the judge is a separate
    classifier, trained on real lesions alone.
    ``probability``: the judge gives the class at least ``threshold`` (null: the class's own, from judge.json; a class
    without one is decided as by ``argmax``). ``argmax``: the class is the judge's first choice.
    """

    mode: Literal["probability", "argmax"] = Field(
        "probability", description="probability: the judge gives enough; argmax: its first choice"
    )
    threshold: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="least judge probability of the intended class; null: the judge's own per class",
    )

    def __post_init__(self) -> None:
        _check_threshold(self.mode, self.threshold)

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept where the judge agrees; reasons ``judge: mel 0.12 < 0.50`` and ``judge: nv, not mel``."""
        return _verdicts([self._reason(state, s) for s in range(len(state.label_S))])

    def _reason(self, state: AcceptanceState, s: int) -> str:
        label = int(state.label_S[s])
        name = state.classes[label]
        threshold = state.judge_threshold.get(name) if self.threshold is None else self.threshold
        if self.mode == "argmax" or threshold is None:
            first = int(np.argmax(state.judge_prob_SC[s]))
            return "" if first == label else f"judge: {state.classes[first]}, not {name}"
        probability = float(state.judge_prob_SC[s, label])
        return "" if probability >= threshold else f"judge: {name} {_below(probability, threshold, digits=2)}"


@register("acceptance", "not_memorized")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class NotMemorized:
    """The images no closer to a train image than two different train lesions usually are.

    The distance is the cosine distance (0-2) of fused embeddings; the bound is a percentile of the distances from
    each train lesion to the nearest other one, so 1 rejects what is closer than all but 1 % of real pairs. Copies are
    found by distance in features as in Somepalli et al. 2023; that real images say what is too close follows the test for
    data-copying of Meehan et al. 2020.
    """

    percentile: Percentile = Field(
        1, description=f"percentile of distances between train lesions: {_MEASURED}"
    )

    rejects_train_images: ClassVar[bool] = True

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept at or above the bound; reason ``memorized: 0.012 < 0.034``.

        Raises:
            ConfigError: the index holds no such percentile.
        """
        bound = _quantile(state, self.percentile)
        return _verdicts(
            [
                "" if value >= bound else f"memorized: {_below(value, bound, digits=3)}"
                for value in state.nearest_train_distance_S.tolist()
            ]
        )


@register("acceptance", "in_distribution")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class InDistribution:
    """The images about as near to a train lesion as train lesions are to each other; images off the data are rejected.

    The bound is a percentile of the distances from each train lesion to the nearest other one (cosine distance, 0-2).
    It asks what improved precision asks (Kynkäänniemi et al. 2019), with one radius for all train images instead of each
    image's own.
    """

    percentile: Percentile = Field(
        99, description=f"percentile of distances between train lesions: {_MEASURED}"
    )

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept at or below the bound; reason ``support: 0.512 > 0.410``.

        Raises:
            ConfigError: the index holds no such percentile.
        """
        bound = _quantile(state, self.percentile)
        return _verdicts(
            [
                "" if value <= bound else f"support: {_apart(value, '>', bound, digits=3)}"
                for value in state.nearest_train_distance_S.tolist()
            ]
        )


@register("acceptance", "reviewed")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Reviewed:
    """The images a person has approved; without a verdict an image does not train.

    The run stops after synthesis and leaves a contact sheet and a CSV to fill in; the same command then goes on. Ours:
    a gate in which a person decides.
    """

    wants_review: ClassVar[bool] = True

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept what has the verdict accept; reasons ``review: rejected`` and ``review: no verdict yet``."""
        words = {"accept": "", "reject": "review: rejected"}
        verdicts = [""] * len(state.label_S) if state.verdict_S is None else state.verdict_S.tolist()
        return _verdicts([words.get(verdict, "review: no verdict yet") for verdict in verdicts])


@register("acceptance", "conjunction")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Conjunction:
    """The images that every policy of a list accepts. Ours: the logical "and" of gates, whose sources are their own."""

    of: tuple[AcceptancePolicy, ...] = Field(min_length=1, description="the policies that must all accept")

    @property
    def wants_review(self) -> bool:
        """Whether one of them needs verdicts of a person."""
        return any(policy.wants_review for policy in self.of)

    @property
    def rejects_train_images(self) -> bool:
        """Whether one of them rejects copies of train images."""
        return any(policy.rejects_train_images for policy in self.of)

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept where all do; the reasons are joined by ``; `` in the order of the list."""
        return _all_of([policy.accept(state) for policy in self.of])


@register("acceptance", "default")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Default:
    """The images that the judge assigns to their class and that copy no train image: two gates, each with its parameters.

    Ours: the ``conjunction`` of ``label_consistent`` and ``not_memorized``; their sources are there.
    """

    mode: Literal["probability", "argmax"] = Field("probability", description="as label_consistent.mode")
    threshold: float | None = Field(None, ge=0.0, le=1.0, description="as label_consistent.threshold")
    percentile: Percentile = Field(1, description="as not_memorized.percentile")

    rejects_train_images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_threshold(self.mode, self.threshold)

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept where both gates do; the reasons are joined by ``; ``, the judge's first."""
        judge = LabelConsistent(mode=self.mode, threshold=self.threshold)
        return _all_of([judge.accept(state), NotMemorized(percentile=self.percentile).accept(state)])


def _verdicts(reasons: Sequence[str]) -> Verdicts:
    """Accept where the reason is empty."""
    reason_S = np.array(reasons, dtype=np.str_)
    return Verdicts(accepted_S=reason_S == "", reason_S=reason_S)


def _all_of(every: Sequence[Verdicts]) -> Verdicts:
    """Accept where every verdict does; join the reasons by ``; ``."""
    columns = [[str(reason) for reason in verdicts.reason_S] for verdicts in every]
    accepted_S: BoolArray = np.all([verdicts.accepted_S for verdicts in every], axis=0)
    joined = ["; ".join(reason for reason in row if reason) for row in zip(*columns, strict=True)]
    return Verdicts(accepted_S=accepted_S, reason_S=np.array(joined, dtype=np.str_))


def _check_threshold(mode: str, threshold: float | None) -> None:
    if mode == "argmax" and threshold is not None:
        raise ValueError("threshold has no effect with mode: argmax; remove it or use mode: probability")


def _quantile(state: AcceptanceState, percentile: int) -> float:
    if percentile not in state.train_distance_quantiles:
        raise ConfigError(
            f"policy.acceptance.percentile: {percentile} was not measured; "
            f"index.json has {', '.join(map(str, sorted(state.train_distance_quantiles)))}"
        )
    return float(state.train_distance_quantiles[percentile])


def _below(value: float, bound: float, digits: int) -> str:
    """Return ``0.12 < 0.50``, with more digits where rounding would hide the difference."""
    return _apart(value, "<", bound, digits)


def _apart(value: float, sign: str, bound: float, digits: int) -> str:
    while digits < 9 and f"{value:.{digits}f}" == f"{bound:.{digits}f}":
        digits += 1
    return f"{value:.{digits}f} {sign} {bound:.{digits}f}"
