"""Selection policies: which of the candidates that passed the gates are kept, by what each would teach.

Legend: S candidates, C classes, F features. Values grow with what an image is held worth; ties are broken by sample_id.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import BoolArray, IntArray, Selection, SelectionState
from policies.base import STRICT
from policies.mining import SMALLEST_PROBABILITY, Scores, entropy
from policies.registry import register
from policies.stochastic import Noise, gumbel, standardised


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Keep(Noise):
    """The parameters every selection policy has: the share of each class, and how far chance decides.

    The values that compete for noise are those of a class, or all.
    """

    stratified: bool = Field(True, description="each class keeps its share of the candidates generated")

    def groups(self, state: SelectionState) -> dict[str, IntArray]:
        """Return the rows that compete with each other: by class where stratified, else all under the name ""."""
        if not self.stratified:
            return {"": np.arange(len(state), dtype=np.int64)}
        return {
            state.classes[label]: np.flatnonzero(state.label_S == label).astype(np.int64)
            for label in np.unique(state.label_S).tolist()
        }

    def places(self, state: SelectionState, open_S: BoolArray, total: int) -> dict[str, int]:
        """Return how many of the candidates in ``open_S`` each group keeps: its share of those generated, at most all.

        ``total`` is at most the number of candidates in ``open_S``.
        """
        groups = self.groups(state)
        generated = {name: state.generated.get(name, len(rows)) for name, rows in groups.items()}
        return share_out(total, generated, {name: int(open_S[rows].sum()) for name, rows in groups.items()})

    def keep(
        self,
        state: SelectionState,
        value_S: Scores,
        rng: np.random.Generator,
        last_S: BoolArray | None = None,
    ) -> Selection:
        """Keep the candidates of highest value, perturbed, in every group.

        ``state`` must be in the order of ``by_sample_id``. ``last_S`` are kept only where nothing else is left.
        """
        later_S = np.zeros(len(state), dtype=np.bool_) if last_S is None else last_S
        noise_S = self.scale(state.round) * gumbel(rng, len(state))
        keep_S = np.zeros(len(state), dtype=np.bool_)
        for open_S in (state.passed_S & ~later_S, state.passed_S & later_S):
            left = min(state.total - int(keep_S.sum()), int(open_S.sum()))
            places = self.places(state, open_S, left)
            for name, rows in self.groups(state).items():
                able = rows[open_S[rows]]
                score = standardised(value_S[able]) + noise_S[able]
                keep_S[able[np.argsort(-score, kind="stable")[: places[name]]]] = True
        return Selection(keep_S=keep_S, value_S=value_S)


@register("selection", "random")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Random(Keep):
    """Candidates at random: the control; value is the draw in [0, 1). Noise changes which, not how likely each is."""

    wants_candidates: ClassVar[bool] = False

    def select(self, state: SelectionState, rng: np.random.Generator) -> Selection:
        """Draw without replacement among those that passed."""
        state, restore = by_sample_id(state)
        return in_order(self.keep(state, rng.random(len(state)), rng), restore)


@register("selection", "disagreement")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Disagreement(Keep):
    """The candidates on which the judge contradicts the classifier most: KL(judge || classifier), nats.

    Ours: query by committee (McCallum and Nigam 1998) with the judge as a teacher instead of a committee. With soft labels
    of the judge it is the loss a candidate would have, without the part that no training can remove.
    """

    def select(self, state: SelectionState, rng: np.random.Generator) -> Selection:
        """Keep by falling divergence sum_c q_c log(q_c / p_c), q the judge's and p the classifier's probabilities."""
        state, restore = by_sample_id(state)
        judge_SC = np.asarray(state.judge_prob_SC, dtype=np.float64)
        value_S = cross_entropy(judge_SC, state.classifier_prob_SC) - entropy(judge_SC)
        return in_order(self.keep(state, np.maximum(value_S, 0.0), rng), restore)


@register("selection", "entropy")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Entropy(Keep):
    """The candidates of which the classifier is least sure: entropy (Shannon 1948) over log C, in [0, 1].

    Uncertainty sampling by entropy, as in Settles 2009, Sec. 3.1, among synthetic images. Does not look at the label.
    """

    def select(self, state: SelectionState, rng: np.random.Generator) -> Selection:
        """Keep by falling entropy of the classifier."""
        state, restore = by_sample_id(state)
        prob_SC = np.asarray(state.classifier_prob_SC, dtype=np.float64)
        return in_order(self.keep(state, entropy(prob_SC) / np.log(prob_SC.shape[1]), rng), restore)


@register("selection", "classifier_loss")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClassifierLoss(Keep):
    """The candidates on whose label the classifier does worst: cross-entropy of the target, hard or soft, nats.

    The score of online hard example mining (Shrivastava et al. 2016), of candidates before they train.
    """

    def select(self, state: SelectionState, rng: np.random.Generator) -> Selection:
        """Keep by falling loss -sum_c y_c log p_c."""
        state, restore = by_sample_id(state)
        return in_order(
            self.keep(state, cross_entropy(state.target_SC, state.classifier_prob_SC), rng), restore
        )


def by_sample_id(state: SelectionState) -> tuple[SelectionState, IntArray]:
    """Return the state with its candidates sorted by sample_id, and the positions that restore the order given."""
    order = np.argsort(state.sample_id, kind="stable")
    names = [f.name for f in dataclasses.fields(state) if f.name.endswith(("_S", "_SC", "_SF"))]
    columns = {name: getattr(state, name)[order] for name in ("sample_id", "parent_image_id", *names)}
    return dataclasses.replace(state, **columns), np.argsort(order, kind="stable").astype(np.int64)


def in_order(selection: Selection, restore: IntArray) -> Selection:
    """Return a decision on the sorted candidates in the order they were given in."""
    return Selection(keep_S=selection.keep_S[restore], value_S=selection.value_S[restore])


def cross_entropy(target_SC: npt.NDArray[np.floating], prob_SC: npt.NDArray[np.floating]) -> Scores:
    """Return -sum_c target_c log prob_c of each row, nats."""
    log_SC = np.log(np.maximum(np.asarray(prob_SC, dtype=np.float64), SMALLEST_PROBABILITY))
    return np.asarray(-(np.asarray(target_SC, dtype=np.float64) * log_SC).sum(axis=1))


def share_out(total: int, weights: Mapping[str, int], most: Mapping[str, int]) -> dict[str, int]:
    """Divide ``total`` between groups in proportion to their weights, at most ``most`` each, by the largest remainder.

    What a group cannot take goes to the others in proportion to their weights. Remainders go to the larger fraction, ties
    to the smaller weight, then by name. Groups of weight 0 come last, in proportion to ``most``.

    Args:
        total: at most the sum of ``most``.
        weights: whole numbers, at least 0, by the names of the groups.
        most: what each group can take.

    Returns:
        Shares that sum to ``total``.
    """
    shares, left = dict.fromkeys(weights, 0), total
    able = [name for name in weights if weights[name] > 0]
    while full := [n for n in able if left * weights[n] >= most[n] * sum(weights[k] for k in able)]:
        shares |= {name: most[name] for name in full}
        left = total - sum(shares.values())
        able = [name for name in able if name not in full]
    if able:
        whole = sum(weights[name] for name in able)
        shares |= {name: left * weights[name] // whole for name in able}
        first = sorted(able, key=lambda name: (-(left * weights[name] % whole), weights[name], name))
        for name in first[: total - sum(shares.values())]:
            shares[name] += 1
    elif left > 0:
        rest = {name: most[name] for name in weights if weights[name] == 0 and most[name] > 0}
        shares |= share_out(left, rest, rest)
    return shares
