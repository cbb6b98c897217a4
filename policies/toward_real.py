"""Selection policies that hold candidates against real lesions which the classifier did not train on.

Legend: S candidates, N real lesions, C classes, F features, D principal components.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import IntArray, Selection, SelectionState
from policies.base import STRICT
from policies.mining import Scores
from policies.registry import register
from policies.selection import Keep, by_sample_id, in_order
from policies.stochastic import gumbel, standardised


@register("selection", "gradient_alignment")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradientAlignment(Keep):
    """The candidates whose gradient points where that of real held-out lesions does; the worst share is dropped.

    The gradient is that of the classifier's last layer, as in BADGE (Ash et al. 2020) and GRAD-MATCH (Killamsetty et al.
    2021), the comparison with held-out real ones that of Ren et al. 2018. value is the cosine, in [-1, 1]: a step on the
    image lowers the loss on real lesions where it is above 0, and a large gradient, often of a wrong label, counts no
    more than a small one. With noise, chance decides among what the share leaves.
    """

    drop: float = Field(
        0.25,
        ge=0.0,
        lt=1.0,
        description="share of each class's passed candidates, the least aligned, kept only where nothing else is left",
    )

    wants_real: ClassVar[bool] = True

    def select(self, state: SelectionState, rng: np.random.Generator) -> Selection:
        """Keep by falling cosine.

        Raises:
            ValueError: the state has no real lesions.
        """
        _check_real(state)
        state, restore = by_sample_id(state)
        value_S = alignment(state)
        last_S = np.zeros(len(state), dtype=np.bool_)
        for rows in self.groups(state).values():
            able = rows[state.passed_S[rows]]
            dropped = int(self.drop * len(able) + 1e-9)
            last_S[able[np.argsort(-value_S[able], kind="stable")[len(able) - dropped :]]] = True
        return in_order(self.keep(state, value_S, rng, last_S), restore)


@register("selection", "covariance")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Covariance(Keep):
    """The candidates that together have the feature covariance, and the mean, of real lesions of their class.

    The greedy covariance matching of Rezaei et al. 2025: the candidate that brings the covariance of those kept nearest
    to the real one (Frobenius norm, on principal components of the real features) is next. Ours: the mean counts too, as
    one more component. value is the fall of the squared distance, of a kept image at its turn, of any other as the next.
    A class with fewer than two real lesions is matched to all real lesions. Noise is added to the falls at every turn.
    """

    components: int = Field(
        32, ge=1, le=512, description="principal components of the real features compared"
    )

    wants_real: ClassVar[bool] = True

    def select(self, state: SelectionState, rng: np.random.Generator) -> Selection:
        """Keep one by one, per class, what brings the kept ones nearest to the real ones.

        Raises:
            ValueError: the state has no real lesions.
        """
        _check_real(state)
        state, restore = by_sample_id(state)
        keep_S, value_S = np.zeros(len(state), dtype=np.bool_), np.zeros(len(state))
        total = min(state.total, int(state.passed_S.sum()))
        places = self.places(state, state.passed_S, total)
        for name, rows in self.groups(state).items():
            point_SD, target_DD = compared(state, rows, name, self.components)
            chosen, value_S[rows] = match(
                point_SD,
                target_DD,
                np.flatnonzero(state.passed_S[rows]),
                places[name],
                self.scale(state.round),
                rng,
            )
            keep_S[rows[chosen]] = True
        return in_order(Selection(keep_S=keep_S, value_S=value_S), restore)


def alignment(state: SelectionState) -> Scores:
    """Return the cosine of each candidate's last-layer gradient with the mean one over real lesions, (S,).

    The gradient of one image is (p - y) h^T, so <g_i, G> = (p_i - y_i)^T G h_i and |g_i| = |p_i - y_i| |h_i|: no outer
    product of a candidate is formed. Classes weigh the same in the mean. A gradient of length 0 has cosine 0.
    """
    real_error_NC = state.real_prob_NC.astype(np.float64)
    real_error_NC[np.arange(len(real_error_NC)), state.real_label_N] -= 1.0
    count_N = np.bincount(state.real_label_N)[state.real_label_N]
    mean_CF = (real_error_NC / count_N[:, None]).T @ state.real_feature_NF.astype(np.float64)
    error_SC = state.classifier_prob_SC.astype(np.float64) - state.target_SC
    feature_SF = state.feature_SF.astype(np.float64)
    length_S = np.linalg.norm(error_SC, axis=1) * np.linalg.norm(feature_SF, axis=1) * np.linalg.norm(mean_CF)
    inner_S = ((error_SC @ mean_CF) * feature_SF).sum(axis=1)
    return np.asarray(np.divide(inner_S, length_S, out=np.zeros(len(inner_S)), where=length_S > 0))


def compared(state: SelectionState, rows: IntArray, name: str, components: int) -> tuple[Scores, Scores]:
    """Return the group's candidates and the second moment they are to have: (S, D + 1) and (D + 1, D + 1).

    Coordinates are principal components of the real features around their mean, scaled to variance 1 on average, and a
    constant 1: the second moment of the real lesions then holds their covariance and their mean, which is 0.
    """
    same_N = np.array(state.classes)[state.real_label_N] == name
    real_NF = state.real_feature_NF[same_N if same_N.sum() >= 2 else slice(None)].astype(np.float64)
    mean_F = real_NF.mean(axis=0)
    _, length_D, axis_DF = np.linalg.svd(real_NF - mean_F, full_matrices=False)
    kept = min(components, len(real_NF) - 1) or 1
    variance_D, axis_DF = length_D[:kept] ** 2 / len(real_NF), axis_DF[:kept]
    unit = np.sqrt(variance_D.mean()) or 1.0
    point_SD = (state.feature_SF[rows].astype(np.float64) - mean_F) @ axis_DF.T / unit
    moment_D = np.append(variance_D / unit**2, 1.0)
    return np.concatenate([point_SD, np.ones((len(rows), 1))], axis=1), np.diag(moment_D)


def match(
    point_SD: Scores, target_DD: Scores, able: IntArray, count: int, noise: float, rng: np.random.Generator
) -> tuple[IntArray, Scores]:
    """Choose ``count`` of the rows ``able``, one by one, whose mean outer product comes nearest to ``target_DD``.

    With M the mean over the n chosen and A = n M / (n + 1) - T, adding z makes the squared distance
    |A|^2 + 2 z^T A z / (n + 1) + |z|^4 / (n + 1)^2.

    Returns:
        The rows chosen, and for every row the fall of the squared distance: at its turn, or as the next one.
    """
    size_S = (point_SD**2).sum(axis=1)
    sum_DD, left = np.zeros_like(target_DD), np.asarray(able)
    value_S, chosen = np.zeros(len(point_SD)), list[int]()
    for turn in range(1, count + 2):
        before = ((sum_DD / max(turn - 1, 1) - target_DD) ** 2).sum()
        away_DD = sum_DD / turn - target_DD
        bent_S = ((point_SD @ away_DD) * point_SD).sum(axis=1)
        fall_S = before - ((away_DD**2).sum() + 2.0 * bent_S / turn + size_S**2 / turn**2)
        fall_S[chosen] = value_S[chosen]
        value_S = fall_S
        if turn > count:
            break
        score = standardised(fall_S[left]) + noise * gumbel(rng, len(left))
        chosen.append(int(left[np.argmax(score)]))
        left = left[left != chosen[-1]]
        sum_DD = sum_DD + np.outer(point_SD[chosen[-1]], point_SD[chosen[-1]])
    return np.array(chosen, dtype=np.int64), value_S


def _check_real(state: SelectionState) -> None:
    if len(state.real_label_N) == 0:
        raise ValueError("the policy asked for real lesions (its attribute wants_real) and got none")
