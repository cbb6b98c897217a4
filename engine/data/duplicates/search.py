"""Finds near-duplicate images under different lesion ids: one lesion photographed twice, or one photograph kept twice.

Flipped, rotated by 90 degrees, cropped, brighter or re-compressed copies are found too. Three steps: candidates are
neighbours of a coarse layout under the flips and rotations of the square; a candidate stays where its coarse detail agrees
at some shift and zoom, clearly better than with other candidates (handwritten ones all look alike, and are no duplicates);
it is a duplicate where its fine detail agrees too, once the two are registered. `hardcase data audit` and the stage
``images`` share this finder; ``experiments/audit.py`` chose its thresholds and measured them.

Shape legend: N images, P pairs, S side of the thumbnail, R ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.data.duplicates.candidates import Candidates, find_candidates, ranks, turned
from engine.data.duplicates.registration import (
    BLOCK,
    agreement,
    detail,
    match,
    refine,
    shrink,
    spectra,
    zoomed_details,
)
from engine.types import BoolArray, FloatArray, ImageArray, IntArray, StrArray

SIDE = 64
"""Side of the thumbnails compared; smaller images are compared at their own."""
LEAST_SIDE = 24
"""Side under which unrelated images agree too well to tell."""
GREY = np.array([0.3, 0.3, 0.4], dtype=np.float32)
COARSE_MATCH = 0.4
FINE_MATCH = 0.45
RIVAL = 3
COPIES = 4
"""One image may have this many duplicates: after one of them the RIVAL-th next must be clearly farther."""
RATIO = 0.8
"""Clearly farther: a distance under RATIO times the rival's (after Lowe 2004)."""
COARSE_RATIO = 0.95
"""The same of coarse detail, for a pair to be registered at all."""
PLAIN = 1.0
"""Spread of grey (0-255) below which an image shows nothing."""

Float32 = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """P pairs of rows (first < second), ascending, and how the second image lies on the first.

    ``distance_P`` is 1 - agreement of fine detail after registration; ``turn_P`` the turn of TURNS that the second image
    needs; ``placement_P4`` its (log zoom, angle, x, y), see ``registration``; ``exact_P`` marks equal pixels.
    """

    pairs_P2: IntArray
    distance_P: FloatArray
    turn_P: IntArray
    placement_P4: FloatArray
    exact_P: BoolArray


def find_duplicates(
    images_NHWC: ImageArray, group_N: StrArray, progress: Progress, native_side: int = SIDE
) -> Duplicates:
    """Return near-duplicates among images of different groups; under LEAST_SIDE pixels only those with equal pixels.

    Args:
        images_NHWC: (N, H, W, 3) uint8, square; may be a memmap.
        group_N: lesion ids; pairs within one are not reported.
        progress: called as progress("candidates" or "duplicates", done, total).
        native_side: short side of the pictures before they were decoded to this size; enlarged ones are compared at it,
            because what enlarging adds is alike in all of them.
    """
    grey_NSS = thumbnails(images_NHWC, native_side)
    exact_P2 = equal_pixels(images_NHWC, grey_NSS, group_N)
    if grey_NSS.shape[1] < LEAST_SIDE:
        return _joined(Matches.none(), exact_P2)
    found = registered_pairs(grey_NSS, group_N, progress)
    return _joined(found.take(found.correlation_P > detail_threshold(grey_NSS.shape[1])), exact_P2)


def registered_pairs(grey_NSS: Float32, group_N: StrArray, progress: Progress) -> Matches:
    """Return every pair that was registered and stands out, with the agreement of its fine detail, whatever that is.

    An image that is part of a duplicate has its rivals registered too: it may have as good neighbours that were left out
    for having none of their own that stand out. Takes thumbnails (``thumbnails``) and ``find_duplicates``'s arguments.
    """
    count = len(grey_NSS)
    matched = match_candidates(grey_NSS, find_candidates(grey_NSS, group_N, progress), progress)
    rank_P2 = matched.ranks(count)
    worth = (matched.correlation_P > COARSE_MATCH) & matched.stands_out(count, COARSE_RATIO)
    found = register(grey_NSS, matched.take(worth))
    involved = np.zeros(count, dtype=np.bool_)
    involved[found.pairs_P2[found.correlation_P > detail_threshold(grey_NSS.shape[1])]] = True
    rival = (involved[matched.pairs_P2] & (rank_P2 < COPIES + RIVAL)).any(axis=1) & ~worth
    rivals = register(grey_NSS, matched.take(rival))
    both = Matches(
        **{f.name: np.concatenate([getattr(found, f.name), getattr(rivals, f.name)]) for f in fields(Matches)}
    )
    return both.take(both.stands_out(count, RATIO))


def detail_threshold(side: int) -> float:
    """Return the agreement over which a pair is a duplicate: with fewer pixels unrelated images agree more.

    At 32 pixels it is 0.9: handwritten digits, of which many look alike, keep fewer pairs than one in sixteen images.
    """
    return float(FINE_MATCH ** ((side / SIDE) ** 3))


@dataclass(frozen=True, kw_only=True)
class Matches:
    """P candidate pairs, each once with its best turn, and what is known of them so far."""

    pairs_P2: IntArray
    turn_P: IntArray
    correlation_P: Float32
    placement_P4: Float32

    @classmethod
    def none(cls) -> Matches:
        """Return no pairs."""
        return cls(
            pairs_P2=np.empty((0, 2), np.int64),
            turn_P=np.empty(0, np.int64),
            correlation_P=np.empty(0, np.float32),
            placement_P4=np.empty((0, 4), np.float32),
        )

    def take(self, rows: BoolArray | IntArray) -> Matches:
        """Return the given pairs."""
        return Matches(
            pairs_P2=self.pairs_P2[rows],
            turn_P=self.turn_P[rows],
            correlation_P=self.correlation_P[rows],
            placement_P4=self.placement_P4[rows],
        )

    def ranks(self, count: int) -> IntArray:
        """Return the place (P, 2), from 0, that each pair has among those of its first and of its second image."""
        return ranks(self.pairs_P2, 1.0 - self.correlation_P, count)

    def stands_out(self, count: int, ratio: float) -> BoolArray:
        """Return which pairs are, for both of their images, among the few before a gap in the distances."""
        rank_P2 = self.ranks(count)
        distance_NR = np.ones((count, COPIES + RIVAL), dtype=np.float32)
        near_P2 = rank_P2 < COPIES + RIVAL
        distance_P2 = np.stack([1.0 - self.correlation_P] * 2, axis=1)
        distance_NR[self.pairs_P2[near_P2], rank_P2[near_P2]] = distance_P2[near_P2]
        gap_NR = distance_NR[:, :COPIES] < ratio * distance_NR[:, RIVAL:]
        before_N = np.where(gap_NR.any(axis=1), COPIES - gap_NR[:, ::-1].argmax(axis=1), 0)
        return np.asarray((rank_P2 < before_N[self.pairs_P2]).all(axis=1))


def thumbnails(images_NHWC: ImageArray, native_side: int = SIDE) -> Float32:
    """Return (N, S, S) grey thumbnails, 0-255."""
    count, height = images_NHWC.shape[:2]
    side = min(SIDE, height, native_side)
    grey_NSS = np.empty((count, side, side), dtype=np.float32)
    for row in range(count):
        image = Image.fromarray(np.asarray(images_NHWC[row]))
        small = image if side == height else image.resize((side, side), Image.Resampling.BOX)
        grey_NSS[row] = np.asarray(small, dtype=np.float32) @ GREY
    return grey_NSS


def equal_pixels(images_NHWC: ImageArray, grey_NSS: Float32, group_N: StrArray) -> IntArray:
    """Return pairs (P, 2) of images of different groups whose pixels are equal, each with the first of its kind."""
    first: dict[bytes, int] = {}
    pairs = []
    for row in np.flatnonzero(grey_NSS.std(axis=(1, 2)) > PLAIN):
        digest = hashlib.sha256(np.ascontiguousarray(images_NHWC[row]).data).digest()
        earlier = first.setdefault(digest, int(row))
        if group_N[earlier] != group_N[row]:
            pairs.append((earlier, int(row)))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def match_candidates(grey_NSS: Float32, candidates: Candidates, progress: Progress) -> Matches:
    """Correlate coarse detail at half the thumbnails' side, over shifts and zooms; each pair keeps its best turn."""
    half_NSS = shrink(grey_NSS, max(grey_NSS.shape[1] // 2, 8))
    side, total = half_NSS.shape[1], len(candidates.turn_P)
    detail_ZNSS = zoomed_details(half_NSS)
    upright = spectra(detail_ZNSS)
    correlation_P = np.empty(total, dtype=np.float32)
    placement_P4 = np.empty((total, 4), dtype=np.float32)
    done = 0
    for turn in np.unique(candidates.turn_P):
        at = np.flatnonzero(candidates.turn_P == turn)
        rows, position = np.unique(candidates.pairs_P2[at, 1], return_inverse=True)
        other = spectra(turned(detail_ZNSS[:, rows], int(turn)))
        for start in range(0, len(at), BLOCK):
            block = at[start : start + BLOCK]
            first, second = candidates.pairs_P2[block, 0], position[start : start + BLOCK]
            correlation_P[block], placement_P4[block] = match(upright[:, first], other[:, second], side)
            done += len(block)
            progress("duplicates", done, total)
    order = np.lexsort((-correlation_P, candidates.pairs_P2[:, 1], candidates.pairs_P2[:, 0]))
    pairs = candidates.pairs_P2[order]
    best = order[np.concatenate([[True], (pairs[1:] != pairs[:-1]).any(axis=1)])] if total else order
    matches = Matches(
        pairs_P2=candidates.pairs_P2,
        turn_P=candidates.turn_P,
        correlation_P=correlation_P,
        placement_P4=placement_P4,
    )
    return matches.take(best)


def register(grey_NSS: Float32, matches: Matches) -> Matches:
    """Register pairs by their coarse, then by their fine detail; the correlation returned is ``agreement``'s."""
    correlation, placement = [np.empty(0, np.float32)], [np.empty((0, 4), np.float32)]
    half = max(grey_NSS.shape[1] // 2, 8)
    for start in range(0, len(matches.turn_P), BLOCK):
        pairs, turn = matches.pairs_P2[start : start + BLOCK], matches.turn_P[start : start + BLOCK]
        first = grey_NSS[pairs[:, 0]]
        second = np.stack([turned(grey_NSS[row], int(g)) for row, g in zip(pairs[:, 1], turn, strict=True)])
        placed = matches.placement_P4[start : start + BLOCK]
        _, placed = refine(detail(shrink(first, half)), detail(shrink(second, half)), placed)
        fine = detail(first), detail(second)
        _, placed = refine(*fine, placed)
        correlation.append(agreement(*fine, placed))
        placement.append(placed)
    return Matches(
        pairs_P2=matches.pairs_P2,
        turn_P=matches.turn_P,
        correlation_P=np.concatenate(correlation),
        placement_P4=np.concatenate(placement),
    )


def _joined(found: Matches, exact_P2: IntArray) -> Duplicates:
    """Add exact pairs to those found by likeness, each pair once, in ascending rows."""
    count = len(exact_P2)
    pairs_P2 = np.concatenate([exact_P2, found.pairs_P2])
    pairs_P2, kept = np.unique(pairs_P2, axis=0, return_index=True)
    correlation = np.concatenate([np.ones(count), found.correlation_P.astype(np.float64)])
    return Duplicates(
        pairs_P2=pairs_P2.reshape(-1, 2),
        distance_P=np.asarray(np.round(np.clip(1.0 - correlation, 0.0, None), 4)[kept], dtype=np.float64),
        turn_P=np.concatenate([np.zeros(count, np.int64), found.turn_P])[kept],
        placement_P4=np.concatenate([np.zeros((count, 4)), found.placement_P4])[kept],
        exact_P=kept < count,
    )
