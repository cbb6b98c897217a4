"""Verifies that two images show one lesion: a similarity that lays enough keypoints of one onto their like in the other.

Matches are nearest descriptors that are clearly nearer than the second (ratio test, Lowe 2004), taken from both sides.
Each match has a place, a size and an angle in both images, so it alone gives a similarity (Philbin, Chum, Isard, Sivic and
Zisserman, "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007): all of them are tried, where
RANSAC (Fischler and Bolles 1981) would draw some, and nothing here is random. The best are fitted anew to what agrees with
them (least squares), in a narrowing tolerance.

Places are complex numbers x + iy in pixels of the working scale (see ``keypoints``); a similarity is p -> z p + t.

Shape legend: K, L keypoints of the first and second image, M matches, H hypotheses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.types import BoolArray, FloatArray, IntArray

Complex = npt.NDArray[np.complexfloating]
Float32 = npt.NDArray[np.float32]

RATIO = 0.9
MOST_MATCHES = 100
"""Matches tried, those of the smallest ratio first."""
LEAST_AGREEING = 4
"""Matches that must agree with a hypothesis before it is fitted: two images that show nothing in common end here."""
STARTS = 4
TOLERANCES = (8.0, 5.0, 3.5, 3.5)
"""Pixels by which a match may miss its place: for a single match's similarity, then after each fit."""
TURNED = float(np.radians(35.0))
"""Radians by which a match's own turn may differ from the similarity's."""
SCALED = float(np.log(1.7))
"""The same of the log of its change of size."""
MOST_ZOOM = 2.8
MOST_PLACES = 0.75
CELL = 3.0
"""Pixels: inliers nearer than this count once (one structure gives several keypoints)."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """How many distinct places agree, how widely they lie (see ``spread``), and the similarity onto the second image."""

    inliers: int
    spread: float
    zoom_turn: complex
    shift: complex


@dataclass(frozen=True, kw_only=True)
class Points:
    """Keypoints of one image: places (K,) complex, sizes in pixels, angles in radians, unit descriptors (K, 128)."""

    place_K: Complex
    size_K: Float32
    angle_K: Float32
    descriptor_KD: Float32


@dataclass(frozen=True, kw_only=True)
class _Matches:
    """M matches: places in both images, change of angle (radians) and of log size."""

    first_M: Complex
    second_M: Complex
    turn_M: Float32
    log_zoom_M: Float32

    def agree(self, zoom_turn: complex, shift: complex, tolerance: float) -> BoolArray:
        """Return which matches a similarity explains."""
        log_zoom = float(np.log(max(abs(zoom_turn), 1e-6)))
        missed = np.abs(zoom_turn * self.first_M + shift - self.second_M)
        return np.asarray(
            (missed < tolerance * max(1.0, abs(zoom_turn) ** 0.5))
            & (_apart(self.turn_M, float(np.angle(zoom_turn))) < TURNED)
            & (np.abs(self.log_zoom_M - log_zoom) < SCALED)
        )


def verify(first: Points, second: Points) -> Verified | None:
    """Return the best similarity between two images; None where fewer than LEAST_AGREEING matches share any."""
    matches = _matched(first, second)
    if len(matches.first_M) < LEAST_AGREEING:
        return None
    zoom_turn_H = np.exp(matches.log_zoom_M + 1j * matches.turn_M)
    agree_HM = _hypotheses(matches, zoom_turn_H)
    count_H = agree_HM.sum(axis=1)
    best: Verified | None = None
    for row in np.argsort(-count_H, kind="stable")[:STARTS]:
        if count_H[row] < LEAST_AGREEING:
            break
        found = _fitted(matches, agree_HM[row])
        if found is not None and (best is None or found.inliers > best.inliers):
            best = found
    return best


def mutual_ratio_matches(similarity_KL: Float32) -> tuple[IntArray, IntArray, Float32]:
    """Return matches (first, second, ratio) that pass the ratio test seen from either side, each once.

    ``similarity_KL`` are products of unit descriptors s; their distance is sqrt(2 - 2 s). Small ratios come first.
    """
    if min(similarity_KL.shape) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    one, two, ratio = _ratio_test(similarity_KL)
    back_two, back_one, back_ratio = _ratio_test(similarity_KL.T)
    first, second = np.concatenate([one, back_one]), np.concatenate([two, back_two])
    ratio = np.concatenate([ratio, back_ratio])
    order = np.lexsort((second, first, ratio))
    first, second, ratio = first[order], second[order], ratio[order]
    kept = np.sort(np.unique(first * similarity_KL.shape[1] + second, return_index=True)[1])
    return first[kept], second[kept], ratio[kept]


def spread(place_M: Complex) -> float:
    """Return the standard deviation, in pixels, across the line that most places lie closest to.

    Ticks of a ruler, a hair or the rim of the lens can agree in many places, but most of them on a line. Only the
    MOST_PLACES nearest the line count: a few that agree by chance lie off it.
    """
    if len(place_M) < 3:
        return 0.0
    near = np.arange(len(place_M))
    for _ in range(2):
        across = np.abs(_across(place_M, near))
        near = np.argsort(across, kind="stable")[: max(round(MOST_PLACES * len(place_M)), 3)]
    return float(_across(place_M, near)[near].std())


def _across(place_M: Complex, rows: IntArray) -> FloatArray:
    """Return the distances of all places from the principal line of ``rows``, signed by its sides."""
    centred = place_M[rows] - place_M[rows].mean()
    axis = np.sqrt(
        complex((centred**2).sum())
    )  # twice the angle of the principal axis is that of the sum of z^2
    turned = (place_M - place_M[rows].mean()) * np.exp(-1j * np.angle(axis))
    return np.asarray(turned.imag, dtype=np.float64)


def _ratio_test(similarity_KL: Float32) -> tuple[IntArray, IntArray, Float32]:
    top = similarity_KL.argmax(axis=1)
    rows = np.arange(len(top))
    best = similarity_KL[rows, top]
    rest = similarity_KL.copy()
    rest[rows, top] = -1.0
    ratio = np.sqrt(np.maximum(2.0 - 2.0 * best, 0.0) / np.maximum(2.0 - 2.0 * rest.max(axis=1), 1e-9))
    passed = np.flatnonzero(ratio < RATIO)
    return passed, top[passed], ratio[passed].astype(np.float32)


def _matched(first: Points, second: Points) -> _Matches:
    one, two, _ = mutual_ratio_matches(first.descriptor_KD @ second.descriptor_KD.T)
    one, two = one[:MOST_MATCHES], two[:MOST_MATCHES]
    return _Matches(
        first_M=first.place_K[one],
        second_M=second.place_K[two],
        turn_M=second.angle_K[two] - first.angle_K[one],
        log_zoom_M=np.log(second.size_K[two] / first.size_K[one]),
    )


def _hypotheses(matches: _Matches, zoom_turn_H: Complex) -> BoolArray:
    """Return which matches agree with each match's own similarity (H, M)."""
    shift_H = matches.second_M - zoom_turn_H * matches.first_M
    missed = zoom_turn_H[:, None] * matches.first_M + shift_H[:, None] - matches.second_M
    allowed_H = TOLERANCES[0] * np.sqrt(np.maximum(np.abs(zoom_turn_H), 1.0))
    near = np.abs(missed) < allowed_H[:, None]
    near &= np.abs(matches.log_zoom_M[:, None] - matches.log_zoom_M) < SCALED
    near &= _apart(matches.turn_M[:, None], matches.turn_M) < TURNED
    return np.asarray(near & (np.abs(matches.log_zoom_M) < np.log(MOST_ZOOM))[:, None])


def _fitted(matches: _Matches, agree_M: BoolArray) -> Verified | None:
    """Fit a similarity to agreeing matches again and again; None where it falls apart or zooms by more than MOST_ZOOM."""
    zoom_turn, shift = 1 + 0j, 0j
    for tolerance in TOLERANCES[1:]:
        first, second = matches.first_M[agree_M], matches.second_M[agree_M]
        if len(first) < LEAST_AGREEING:
            return None
        zoom_turn, shift = fit_similarity(first, second)
        agree_M = matches.agree(zoom_turn, shift, tolerance)
    if not 1 / MOST_ZOOM < abs(zoom_turn) < MOST_ZOOM or agree_M.sum() < 2:
        return None
    first, second = matches.first_M[agree_M], matches.second_M[agree_M]
    return Verified(
        inliers=min(_distinct(first), _distinct(second)),
        spread=min(spread(first), spread(second)),
        zoom_turn=zoom_turn,
        shift=shift,
    )


def fit_similarity(first_M: Complex, second_M: Complex) -> tuple[complex, complex]:
    """Return z and t that minimise the sum of |z p + t - q|^2 over pairs of places (p, q)."""
    middle_1, middle_2 = first_M.mean(), second_M.mean()
    from_1, from_2 = first_M - middle_1, second_M - middle_2
    zoom_turn = np.vdot(from_1, from_2) / max(float(np.vdot(from_1, from_1).real), 1e-9)
    return complex(zoom_turn), complex(middle_2 - zoom_turn * middle_1)


def _distinct(place_M: Complex) -> int:
    """Return how many cells of CELL pixels hold a place."""
    cells = np.round(place_M.real / CELL) * 1e5 + np.round(place_M.imag / CELL)
    return len(np.unique(cells))


def _apart(one: FloatArray | Float32, two: FloatArray | Float32 | float) -> Float32:
    """Return the unsigned difference of angles, 0 to pi."""
    return np.asarray(np.abs((one - two + np.pi) % (2 * np.pi) - np.pi), dtype=np.float32)
