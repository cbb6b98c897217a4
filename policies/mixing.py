"""Mixing policies: which embeddings condition each sample.

Legend: M hard cases, K neighbours, L levels, D width, S samples. Levels are layer-normed vectors, so a plain average
would be shorter than what the denoiser was trained on: every mix keeps the (interpolated) norm of its sources.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import IntArray, Mixture, Neighbourhood, StrArray
from policies.base import STRICT
from policies.registry import register

Floats = npt.NDArray[np.float64]

NEARLY_PARALLEL = 1e-6
"""Below this sine the arc between two directions has no direction of its own; the chord is used."""


@register("mixing", "self")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Self:
    """The hard case's own embedding, unchanged."""

    def mix(self, hood: Neighbourhood, counts_M: IntArray, rng: np.random.Generator) -> Mixture:
        """Return each case's own levels, ``counts_M`` times."""
        case_S = np.repeat(np.arange(len(hood.image_id)), counts_M)
        return Mixture(
            levels_SLD=hood.levels_MLD[case_S].astype(np.float32),
            parent_image_id=hood.image_id[case_S],
            neighbour_ids_SK=hood.image_id[case_S][:, None],
            weights_SK=np.ones((len(case_S), 1)),
        )


@register("mixing", "neighbours")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Neighbours:
    """A convex mix of the case's train neighbours, with shares drawn per sample from a Dirichlet distribution.

    Mixup (Zhang et al. 2018), whose Beta is the Dirichlet of two shares, among same-class neighbours as in SMOTE (Chawla
    et al. 2002), of embeddings instead of images. A case without neighbours is conditioned on itself.
    """

    alpha: float = Field(
        1.0, gt=0.0, description="concentration of the Dirichlet shares; small: mostly one neighbour"
    )
    nearest: int | None = Field(
        None, ge=1, description="mix only this many nearest neighbours; null: all retrieved"
    )

    def mix(self, hood: Neighbourhood, counts_M: IntArray, rng: np.random.Generator) -> Mixture:
        """Return mixes of the neighbours; slot 0 of the record is the case itself, used where it has none."""
        if hood.neighbour_ids_MK.shape[1] == 0:
            return Self().mix(hood, counts_M, rng)
        case_S, restore = _draw_order(hood, counts_M)
        present_SK = hood.neighbour_ids_MK[case_S] != ""
        if self.nearest is not None:
            present_SK &= np.cumsum(present_SK, axis=1) <= self.nearest
        share_SK = rng.standard_gamma(self.alpha, size=present_SK.shape) * present_SK
        total_S1 = share_SK.sum(axis=1, keepdims=True)
        share_SK = np.divide(share_SK, total_S1, out=_first_of(present_SK), where=total_S1 > 0)
        alone_S1 = 1.0 - present_SK.any(axis=1, keepdims=True)
        weights_SK = np.concatenate([alone_S1, share_SK], axis=1)[restore]
        case_S = case_S[restore]
        sources_SKLD = np.concatenate([hood.levels_MLD[:, None], hood.neighbour_levels_MKLD], axis=1)[case_S]
        ids_SK = np.concatenate([hood.image_id[:, None], hood.neighbour_ids_MK], axis=1)[case_S]
        return _mixture(hood, case_S, blend(sources_SKLD, weights_SK), ids_SK, weights_SK)


@register("mixing", "interpolate")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Interpolate:
    """A point on the arc from the case to one drawn neighbour of its class, level by level (slerp).

    SMOTE (Chawla et al. 2002) on an arc instead of a straight line: slerp is Shoemake's (1985). A case without
    neighbours is conditioned on itself.
    """

    low: float = Field(0.0, ge=0.0, le=1.0, description="least share of the neighbour")
    high: float = Field(0.5, ge=0.0, le=1.0, description="largest share of the neighbour")

    def __post_init__(self) -> None:
        check_order(self.low, self.high)

    def mix(self, hood: Neighbourhood, counts_M: IntArray, rng: np.random.Generator) -> Mixture:
        """Draw the neighbour (uniformly among those present) and its share t ~ U(low, high) for each sample."""
        return along_arcs(hood, counts_M, self.low, self.high, rng)


@register("mixing", "k_center")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class KCenter:
    """Interpolations that lie far apart: of several candidates per sample, greedy k-center (Gonzalez 1985; Sener 2018).

    Candidates are drawn as ``interpolate`` draws them. A case's first sample is the candidate nearest to the case itself;
    every next one is the candidate farthest (cosine distance of the mean level) from those chosen for that case.
    """

    candidates: int = Field(4, ge=1, le=64, description="candidates drawn for each sample")
    low: float = Field(0.0, ge=0.0, le=1.0, description="least share of the neighbour")
    high: float = Field(0.7, ge=0.0, le=1.0, description="largest share of the neighbour")

    def __post_init__(self) -> None:
        check_order(self.low, self.high)

    def mix(self, hood: Neighbourhood, counts_M: IntArray, rng: np.random.Generator) -> Mixture:
        """Draw ``candidates`` times as many mixtures as asked for, keep the ones that cover them best."""
        drawn = Interpolate(low=self.low, high=self.high).mix(hood, counts_M * self.candidates, rng)
        case_S = np.repeat(np.arange(len(counts_M)), counts_M * self.candidates)
        kept: list[int] = []
        for case, count in enumerate(counts_M.tolist()):
            rows = np.flatnonzero(case_S == case)
            own_D = hood.levels_MLD[case].astype(np.float64).mean(axis=0)
            kept += [int(rows[k]) for k in spread_out(drawn.levels_SLD[rows].mean(axis=1), own_D, count)]
        chosen = np.array(kept, dtype=np.int64)
        return Mixture(
            levels_SLD=drawn.levels_SLD[chosen],
            parent_image_id=drawn.parent_image_id[chosen],
            neighbour_ids_SK=drawn.neighbour_ids_SK[chosen],
            weights_SK=drawn.weights_SK[chosen],
        )


def spread_out(points_ND: npt.NDArray[np.floating], start_D: Floats, count: int) -> list[int]:
    """Return ``count`` positions: the point nearest to ``start``, then always the one farthest from those chosen.

    Distance is 1 - cosine; ties go to the earlier point. ``count`` is at most the number of points.
    """
    if count == 0:
        return []
    unit_ND = _unit(points_ND.astype(np.float64), _norm(points_ND.astype(np.float64)))
    chosen = [int(np.argmax(unit_ND @ start_D))]
    gap_N = 1.0 - unit_ND @ unit_ND[chosen[0]]
    while len(chosen) < count:
        gap_N[chosen] = -np.inf
        chosen.append(int(np.argmax(gap_N)))
        gap_N = np.minimum(gap_N, 1.0 - unit_ND @ unit_ND[chosen[-1]])
    return chosen


def slerp(a_D: Floats, b_D: Floats, t: Floats | float) -> Floats:
    """Interpolate direction along the great circle and norm linearly (Shoemake 1985); last axis is the vector.

    direction = [sin((1-t) w) a/|a| + sin(t w) b/|b|] / sin w with w the angle between a and b. Where the two are
    parallel, opposite or zero the arc is undefined: the chord is used, and the nearer end where that vanishes.
    """
    norm_a, norm_b = _norm(a_D), _norm(b_D)
    unit_a, unit_b = _unit(a_D, norm_a), _unit(b_D, norm_b)
    cosine = np.clip((unit_a * unit_b).sum(axis=-1, keepdims=True), -1.0, 1.0)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    curved = sine > NEARLY_PARALLEL
    safe = np.where(curved, sine, 1.0)
    weight_a = np.where(curved, np.sin((1.0 - t) * angle) / safe, 1.0 - t)
    weight_b = np.where(curved, np.sin(t * angle) / safe, t)
    direction = weight_a * unit_a + weight_b * unit_b
    nearer = np.where(np.asarray(t) < 0.5, unit_a, unit_b)
    direction = np.where(_norm(direction) > NEARLY_PARALLEL, direction, nearer)
    return np.asarray(_unit(direction, _norm(direction)) * ((1.0 - t) * norm_a + t * norm_b))


def blend(sources_SKLD: npt.NDArray[np.floating], weights_SK: Floats) -> Floats:
    """Convex mix of K sources per sample, each level stretched to the weighted mean of the sources' norms."""
    weights = weights_SK[:, :, None, None]
    sources = np.where(weights > 0, sources_SKLD, 0.0).astype(np.float64)
    mixed_SLD = (weights * sources).sum(axis=1)
    norm_SL1 = (weights * _norm(sources)).sum(axis=1)
    heaviest = sources[np.arange(len(sources)), np.argmax(weights_SK, axis=1)]
    mixed_SLD = np.where(_norm(mixed_SLD) > NEARLY_PARALLEL * norm_SL1, mixed_SLD, heaviest)
    return np.asarray(_unit(mixed_SLD, _norm(mixed_SLD)) * norm_SL1)


def check_order(low: float, high: float) -> None:
    """Raise ValueError unless ``low`` is at most ``high``."""
    if low > high:
        raise ValueError(f"low {low:g} exceeds high {high:g}")


def _draw_order(hood: Neighbourhood, counts_M: IntArray) -> tuple[IntArray, IntArray]:
    """Return each sample's case with cases sorted by image_id, and the order that restores ``hood``'s.

    Draws made in the first order do not depend on the order of the cases.
    """
    ranked = np.argsort(hood.image_id, kind="stable")
    case_S = np.repeat(ranked, counts_M[ranked]).astype(np.int64)
    return case_S, np.argsort(case_S, kind="stable").astype(np.int64)


def along_arcs(
    hood: Neighbourhood, counts_M: IntArray, low: float, high: float, rng: np.random.Generator
) -> Mixture:
    """Return points on the arcs from the cases to drawn neighbours; a case without neighbours is itself."""
    if hood.neighbour_ids_MK.shape[1] == 0:
        return Self().mix(hood, counts_M, rng)
    case_S, restore = _draw_order(hood, counts_M)
    pick_S, t_S = rng.random(len(case_S))[restore], rng.uniform(low, high, len(case_S))[restore]
    case_S = case_S[restore]
    present_SK = hood.neighbour_ids_MK[case_S] != ""
    available_S = present_SK.sum(axis=1)
    drawn_S = np.floor(pick_S * available_S)
    slot_S = np.argmax(np.cumsum(present_SK, axis=1) > drawn_S[:, None], axis=1)
    t_S = np.where(available_S > 0, t_S, 0.0)
    own_SLD = hood.levels_MLD[case_S].astype(np.float64)
    other_SLD = hood.neighbour_levels_MKLD[case_S, slot_S].astype(np.float64)
    other_SLD = np.where(available_S[:, None, None] > 0, other_SLD, own_SLD)
    ids_SK = np.stack([hood.image_id[case_S], hood.neighbour_ids_MK[case_S, slot_S]], axis=1)
    weights_SK = np.stack([1.0 - t_S, t_S], axis=1)
    return _mixture(hood, case_S, slerp(own_SLD, other_SLD, t_S[:, None, None]), ids_SK, weights_SK)


def _first_of(present_SK: npt.NDArray[np.bool_]) -> Floats:
    """All of the share on the first neighbour present (where gamma draws underflow to 0), none where absent."""
    first_SK: npt.NDArray[np.bool_] = present_SK & (np.cumsum(present_SK, axis=1) == 1)
    return first_SK.astype(np.float64)


def _mixture(
    hood: Neighbourhood, case_S: IntArray, levels_SLD: Floats, ids_SK: StrArray, weights_SK: Floats
) -> Mixture:
    return Mixture(
        levels_SLD=levels_SLD.astype(np.float32),
        parent_image_id=hood.image_id[case_S],
        neighbour_ids_SK=np.where(weights_SK > 0, ids_SK, ""),
        weights_SK=weights_SK,
    )


def _norm(vector: Floats) -> Floats:
    length: Floats = np.linalg.norm(vector, axis=-1, keepdims=True)
    return length


def _unit(vector: Floats, norm: Floats) -> Floats:
    return np.asarray(vector / np.where(norm > 0, norm, 1.0))
