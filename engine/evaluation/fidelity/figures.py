"""All figures of fidelity of one set of synthetic images, with 95 % intervals, overall and by class.

Intervals come from a bootstrap of clusters: real images by lesion (patient, where known), synthetic ones by their parents'.

Shape legend: R real images, S synthetic images, F feature width, C classes, D bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.evaluation.fidelity.distances import frechet_distance, kernel
from engine.evaluation.fidelity.manifold import inception_score, manifold
from engine.types import FloatArray, StrArray

Array = npt.NDArray[np.float64]
Figure = dict[str, float]

SMALLEST = 10
"""Sets under this size have no figures: they would be noise."""
FRECHET_DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Features of images with their classes and clusters (groups of lesions that belong together)."""

    features_NF: FloatArray
    dx: StrArray
    cluster: StrArray

    def take(self, rows: npt.NDArray[Any]) -> ImageSet:
        """Return the given rows (positions or a mask)."""
        return ImageSet(features_NF=self.features_NF[rows], dx=self.dx[rows], cluster=self.cluster[rows])

    def __len__(self) -> int:
        return len(self.dx)


def fidelity_figures(
    real: ImageSet, unseen: ImageSet, synthetic: ImageSet, prob_SC: FloatArray, draws: int, seed: int
) -> dict[str, Any]:
    """Return ``overall`` and ``per_class`` figures of synthetic images against real ones.

    Args:
        real: train images, what the generator learned from.
        unseen: real images it has not seen; their distance from ``real`` is the floor a perfect generator has.
        synthetic: the samples, before any gate.
        prob_SC: a classifier's probabilities of the samples, for the inception score.
        draws: bootstrap draws.
        seed: of the bootstrap and of drawing reference images.

    ``overall`` compares with train images in the class shares of the samples; each figure is {value, low, high} or
    None where a set is too small: kid, fid, precision, recall, density, coverage, inception_score; beside them n_real,
    n_synthetic and kid_unseen.
    """
    rng = np.random.default_rng(seed)
    matched = real.take(match_shares(real.dx, synthetic.dx, rng))
    matched_unseen = unseen.take(match_shares(unseen.dx, synthetic.dx, rng))
    overall = _figures(matched, synthetic, draws, rng)
    overall["inception_score"] = _score(prob_SC, synthetic.cluster, draws, rng)
    overall["kid_unseen"] = _kid(matched, matched_unseen, draws, rng)
    per_class = {}
    for name in np.unique(synthetic.dx):
        own, made, fresh = (s.take(s.dx == name) for s in (real, synthetic, unseen))
        per_class[str(name)] = {**_figures(own, made, draws, rng), "kid_unseen": _kid(own, fresh, draws, rng)}
    return {"overall": overall, "per_class": per_class}


def match_shares(dx_N: StrArray, wanted: StrArray, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return as many rows as possible, at random, in which classes have the shares they have in ``wanted``."""
    names, counts = np.unique(wanted, return_counts=True)
    available = np.array([(dx_N == name).sum() for name in names], dtype=np.float64)
    scale = float((available / counts).min()) if len(names) else 0.0
    rows = [
        rng.choice(np.flatnonzero(dx_N == name), int(scale * count), replace=False)
        for name, count in zip(names, counts, strict=True)
    ]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *rows]))


def class_weights(dx_N: StrArray, wanted: StrArray) -> Array:
    """Return weights (N,), sum 1, under which classes have their shares in ``wanted``; a class without images has none."""
    names, counts = np.unique(wanted, return_counts=True)
    weight_N = np.zeros(len(dx_N))
    for name, count in zip(names, counts, strict=True):
        own = dx_N == name
        weight_N[own] = count / max(1, own.sum())
    return np.asarray(weight_N / weight_N.sum())


def _figures(real: ImageSet, synthetic: ImageSet, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    found: dict[str, Any] = {"n_real": len(real), "n_synthetic": len(synthetic)}
    found["kid"] = _kid(real, synthetic, draws, rng)
    found["fid"] = _fid(real, synthetic, rng)
    shape = manifold(real.features_NF, synthetic.features_NF) if _enough(real, synthetic) else None
    if shape is None:
        return found | dict.fromkeys(("precision", "density", "recall", "coverage"))
    found["precision"] = _mean(shape.precise_S, synthetic.cluster, draws, rng)
    found["density"] = _mean(shape.density_S, synthetic.cluster, draws, rng)
    found["recall"] = _mean(shape.recalled_R, real.cluster, draws, rng)
    found["coverage"] = _mean(shape.covered_R, real.cluster, draws, rng)
    return found


def _enough(first: ImageSet, second: ImageSet) -> bool:
    return min(len(first), len(second)) >= SMALLEST


def cluster_weights(cluster: StrArray, draws: int, rng: np.random.Generator) -> Array:
    """Return how often each image counts in each draw (D, N): clusters are drawn with replacement, whole."""
    names, place = np.unique(cluster, return_inverse=True)
    counts_DG = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.asarray(counts_DG[:, place], dtype=np.float64)


def _kid(real: ImageSet, synthetic: ImageSet, draws: int, rng: np.random.Generator) -> Figure | None:
    """Squared MMD of all pairs of different images, with a normal interval from the bootstrap."""
    if not _enough(real, synthetic):
        return None
    gram_RR, gram_SS = (_no_diagonal(kernel(s.features_NF, s.features_NF)) for s in (real, synthetic))
    gram_RS = kernel(real.features_NF, synthetic.features_NF)

    def distance(weight_DR: Array, weight_DS: Array) -> Array:
        across_D = ((weight_DR @ gram_RS) * weight_DS).sum(axis=1)
        across_D /= weight_DR.sum(axis=1) * weight_DS.sum(axis=1)
        return np.asarray(_within(gram_RR, weight_DR) + _within(gram_SS, weight_DS) - 2.0 * across_D)

    value = float(distance(np.ones((1, len(real))), np.ones((1, len(synthetic))))[0])
    drawn_D = distance(
        cluster_weights(real.cluster, draws, rng), cluster_weights(synthetic.cluster, draws, rng)
    )
    return _normal(value, drawn_D)


def kid_difference(
    real: ImageSet,
    first: ImageSet,
    second: ImageSet,
    draws: int,
    rng: np.random.Generator,
    weight_R: Array | None = None,
    twin: ImageSet | None = None,
    weight_S: Array | None = None,
) -> Figure:
    """Return KID(second) - KID(first) with a percentile interval, for sets made from the same parents row by row.

    Real and synthetic clusters are drawn once for both sets, so what they share cancels; so does what real images have among
    themselves. ``weight_R`` is how much each real image counts (to give the classes the samples' shares without leaving any
    image out), ``weight_S`` the same of the rows of ``second`` (and ``first``); None: all alike.

    Where images of ``first`` are dear, ``second`` may have more rows than it. ``twin`` is then a third set, paired with all
    rows of ``second`` and close to ``first`` on the rows they share, which come first (a fast solver of the same equation
    from the same noise): a control variate of coefficient 1 (Owen, Monte Carlo theory, methods and examples, ch. 8.9), so
    that the difference is KID(second) - KID(twin) over all rows plus KID(twin) - KID(first) over the shared ones.

    Raises:
        ValueError: the sets are not paired row by row.
    """
    bridge = first if twin is None else twin
    n = len(first)
    if not (
        np.array_equal(bridge.cluster, second.cluster) and np.array_equal(bridge.cluster[:n], first.cluster)
    ):
        raise ValueError("kid_difference needs two sets made from the same parents, row by row")
    share_R = np.ones(len(real)) if weight_R is None else weight_R
    weight_DR = cluster_weights(real.cluster, draws, rng) * share_R
    share_S = np.ones(len(second)) if weight_S is None else weight_S
    weight_DS = cluster_weights(second.cluster, draws, rng) * share_S

    def distance(images: ImageSet) -> tuple[Array, Array]:
        """The part of the squared MMD that this set decides: for the images as they are, (1,), and for each draw, (D,)."""
        own = _no_diagonal(kernel(images.features_NF, images.features_NF))
        to_real = kernel(real.features_NF, images.features_NF)

        def weighted(weight_R: Array, weight_S: Array) -> Array:
            across = ((weight_R @ to_real) * weight_S).sum(axis=1)
            across /= weight_R.sum(axis=1) * weight_S.sum(axis=1)
            return np.asarray(_within(own, weight_S) - 2.0 * across)

        rows = len(images)
        return weighted(share_R[None], share_S[None, :rows]), weighted(weight_DR, weight_DS[:, :rows])

    terms = [(1.0, second), (-1.0, bridge)]
    if twin is not None:
        terms += [(1.0, twin.take(np.arange(n))), (-1.0, first)]
    values, drawn = np.zeros(1), np.zeros(draws)
    for sign, images in terms:
        value, draw = distance(images)
        values, drawn = values + sign * value, drawn + sign * draw
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def _within(gram_NN: Array, weight_DN: Array) -> Array:
    """Weighted mean of the kernel over pairs of different images; an image drawn twice is no pair with itself."""
    pairs_D = weight_DN.sum(axis=1) ** 2 - (weight_DN**2).sum(axis=1)
    total_D = ((weight_DN @ gram_NN) * weight_DN).sum(axis=1)
    return np.asarray(total_D / np.where(pairs_D > 0, pairs_D, 1.0))


def _no_diagonal(gram_NN: Array) -> Array:
    np.fill_diagonal(gram_NN, 0.0)
    return gram_NN


def _fid(real: ImageSet, synthetic: ImageSet, rng: np.random.Generator) -> Figure | None:
    """FID where both sets outnumber the features (else its bias hides everything), with a normal interval."""
    width = real.features_NF.shape[1]
    if min(len(real), len(synthetic)) <= width:
        return None
    value = frechet_distance(real.features_NF, synthetic.features_NF)
    drawn = []
    for weight_R, weight_S in zip(
        cluster_weights(real.cluster, FRECHET_DRAWS, rng),
        cluster_weights(synthetic.cluster, FRECHET_DRAWS, rng),
        strict=True,
    ):
        drawn.append(frechet_distance(_repeated(real, weight_R), _repeated(synthetic, weight_S)))
    figure = _normal(value, np.array(drawn))
    return {**figure, "low": max(0.0, figure["low"])}


def _repeated(images: ImageSet, weight_N: Array) -> FloatArray:
    return np.asarray(np.repeat(images.features_NF, weight_N.astype(np.int64), axis=0), dtype=np.float64)


def _score(prob_SC: FloatArray, cluster: StrArray, draws: int, rng: np.random.Generator) -> Figure | None:
    if len(prob_SC) < SMALLEST:
        return None
    drawn = [inception_score(prob_SC, weight) for weight in cluster_weights(cluster, draws, rng)]
    return _normal(inception_score(prob_SC), np.array(drawn))


def _mean(values_N: Array, cluster: StrArray, draws: int, rng: np.random.Generator) -> Figure:
    """Mean with a percentile interval; the manifolds stay as they are, their images are resampled."""
    weight_DN = cluster_weights(cluster, draws, rng)
    drawn_D = (weight_DN @ values_N) / weight_DN.sum(axis=1)
    low, high = np.percentile(drawn_D, [2.5, 97.5])
    return {"value": float(values_N.mean()), "low": float(low), "high": float(high)}


def _normal(value: float, drawn: Sequence[float] | Array) -> Figure:
    """Value +- 1.96 bootstrap standard deviations: draws repeat images, which shifts distances, not their spread."""
    spread = 1.96 * float(np.std(drawn))
    return {"value": value, "low": value - spread, "high": value + spread}
