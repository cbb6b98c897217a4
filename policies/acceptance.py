"""Acceptance policies: which synthetic images may train.

Legend: S synthetic images, C classes. Reasons are short and stable, for counting and for the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from engine.errors import ConfigError
from engine.types import AcceptanceState, BoolArray, Verdicts
from policies.base import AcceptancePolicy
from policies.parameters import REQUIRED, param
from policies.registry import register

PERCENTILES: Final = (1, 5, 25, 50, 75, 95, 99)
"""The percentiles of distances between train lesions that are measured."""


@register("acceptance", "all")
@dataclass(frozen=True, kw_only=True)
class AcceptAll:
    """Every image, ungated: the control."""

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept all."""
        return _verdicts([""] * len(state.label_S))


@register("acceptance", "label_consistent")
@dataclass(frozen=True, kw_only=True)
class LabelConsistent:
    """The images an independent judge takes for the intended class.

    As He et al. 2023 drop images in which CLIP finds the class with little confidence; here the judge is a classifier of
    its own, trained on real lesions alone.
    ``probability``: the judge gives the class at least ``threshold`` (null: the class's own, from judge.json; a class
    without one is decided as by ``argmax``). ``argmax``: the class is the judge's first choice.
    """

    mode: Literal["probability", "argmax"] = param(
        "probability", "probability: the judge gives enough; argmax: its first choice"
    )
    threshold: float | None = param(
        None, "least judge probability of the intended class; null: the judge's own a class", ge=0.0, le=1.0
    )

    def __post_init__(self) -> None:
        if self.mode == "argmax" and self.threshold is not None:
            raise ValueError("threshold has no effect with mode: argmax; remove it or use mode: probability")

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
@dataclass(frozen=True, kw_only=True)
class NotMemorized:
    """The images no closer to a train image than two different train lesions usually are.

    The distance is the cosine distance (0-2) of fused embeddings; the bound is a percentile of the distances from
    each train lesion to the nearest other one, so 1 rejects what is closer than all but 1 % of real pairs. Copies are
    found by distance in features as in Somepalli et al. 2023; that real images say what is too close follows the test for
    data-copying of Meehan et al. 2020.
    """

    percentile: int = param(
        1, f"percentile of distances between train lesions: one of {', '.join(map(str, PERCENTILES))}"
    )

    def __post_init__(self) -> None:
        _check_measured(self.percentile)

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
@dataclass(frozen=True, kw_only=True)
class InDistribution:
    """The images with a train lesion as near as train lesions have one: what lies off the data is rejected.

    The bound is a percentile of the distances from each train lesion to the nearest other one (cosine distance, 0-2).
    It asks what improved precision asks (Kynkäänniemi et al. 2019), with one radius for all train images instead of each
    image's own.
    """

    percentile: int = param(
        99, f"percentile of distances between train lesions: one of {', '.join(map(str, PERCENTILES))}"
    )

    def __post_init__(self) -> None:
        _check_measured(self.percentile)

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
@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """The images a person has approved; without a verdict an image does not train.

    The run stops after synthesis and leaves a contact sheet and a CSV to fill in; the same command then goes on. Ours:
    any gate of this kind with a person in its place.
    """

    @property
    def wants_review(self) -> bool:
        """Whether verdicts of a person are needed."""
        return True

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept what has the verdict accept; reasons ``review: rejected`` and ``review: no verdict yet``."""
        words = {"accept": "", "reject": "review: rejected"}
        verdicts = [""] * len(state.label_S) if state.verdict_S is None else state.verdict_S.tolist()
        return _verdicts([words.get(verdict, "review: no verdict yet") for verdict in verdicts])


@register("acceptance", "conjunction")
@dataclass(frozen=True, kw_only=True)
class Conjunction:
    """The images that every policy of a list accepts. Ours: the logical "and" of gates, whose sources are their own."""

    of: tuple[AcceptancePolicy, ...] = param(REQUIRED, "the policies that must all accept", of="acceptance")

    @property
    def wants_review(self) -> bool:
        """Whether one of them needs verdicts of a person."""
        return any(getattr(policy, "wants_review", False) for policy in self.of)

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept where all do; the reasons are joined by ``; `` in the order of the list."""
        every = [policy.accept(state) for policy in self.of]
        columns = [[str(reason) for reason in verdicts.reason_S] for verdicts in every]
        accepted_S: BoolArray = np.all([verdicts.accepted_S for verdicts in every], axis=0)
        joined = ["; ".join(reason for reason in row if reason) for row in zip(*columns, strict=True)]
        return Verdicts(accepted_S=accepted_S, reason_S=np.array(joined, dtype=np.str_))


@register("acceptance", "default")
@dataclass(frozen=True, kw_only=True)
class Default:
    """What the judge takes for its class and what copies no train image: both gates with their own parameters.

    Ours: the ``conjunction`` of ``label_consistent`` and ``not_memorized``; their sources are there.
    """

    mode: Literal["probability", "argmax"] = param("probability", "as label_consistent.mode")
    threshold: float | None = param(None, "as label_consistent.threshold", ge=0.0, le=1.0)
    percentile: int = param(1, "as not_memorized.percentile")

    def __post_init__(self) -> None:
        self._gates()

    def accept(self, state: AcceptanceState) -> Verdicts:
        """Accept where both gates do; the reasons are joined by ``; ``, the judge's first."""
        return self._gates().accept(state)

    def _gates(self) -> Conjunction:
        judge = LabelConsistent(mode=self.mode, threshold=self.threshold)
        return Conjunction(of=(judge, NotMemorized(percentile=self.percentile)))


def _verdicts(reasons: Sequence[str]) -> Verdicts:
    """Accept where the reason is empty."""
    reason_S = np.array(reasons, dtype=np.str_)
    return Verdicts(accepted_S=reason_S == "", reason_S=reason_S)


def _check_measured(percentile: int) -> None:
    if percentile not in PERCENTILES:
        raise ValueError(f"percentile {percentile} is not one of {', '.join(map(str, PERCENTILES))}")


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
