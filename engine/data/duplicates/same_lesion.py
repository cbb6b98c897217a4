"""Finds a second photograph of one lesion under another lesion id: another light, zoom, angle, pressure or day.

Keypoints are found (``keypoints``), vote for images that share them (``keypoint_candidates``), and a candidate stays
where one similarity explains enough of them (``verification``). The other finder (``search``) compares pixels: it finds
mirrored copies, this one does not. ``experiments/audit_lesions.py`` chose the thresholds and measured them.

Shape legend: N images, P pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from engine.data.duplicates.keypoint_candidates import candidate_pairs
from engine.data.duplicates.keypoints import Keypoints
from engine.data.duplicates.verification import Verified, verify
from engine.types import BoolArray, FloatArray, IntArray, StrArray

LEAST_SIDE = 96
"""Short side of the pictures, in pixels as they came, under which there is too little structure to tell lesions apart."""
LEAST_SPREAD = 3.0
"""Pixels (at ``keypoints.SIDE``) that inliers must spread across their line: a ruler, a hair or a rim has less."""
LISTED = 8
"""Inliers from which the audit lists a pair: eight false alarms in 10,015 images of HAM10000."""
SURE = 12
"""Inliers from which ``data.split.merge_duplicates`` joins a pair: no false alarm in HAM10000."""

MOST_FRIENDS = 16
"""An image that matches more others is a look-alike of many (a printed frame, a logo): nothing is joined to it."""
MOVED = 0.02
"""Log zoom, angle (radians) or shift (half frames) by which a second photograph differs at least; a logo does not."""

Found = tuple[int, int, Verified]
"""Two rows, and the similarity that lays the first image onto the second."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class LesionPairs:
    """P pairs of rows (first < second, ascending), how many distinct places agree, how widely they spread (pixels).

    ``placement_P4`` is (log zoom, angle, x, y) of the second image on the first, both cut to the centred square (see
    ``registration``).
    """

    pairs_P2: IntArray
    inliers_P: IntArray
    spread_P: FloatArray
    placement_P4: FloatArray

    @property
    def sure_P(self) -> BoolArray:
        """Which pairs are sure enough to be joined; those with a look-alike of many, or not moved at all, are not."""
        image, count = np.unique(self.pairs_P2, return_counts=True)
        friends_P2 = count[np.searchsorted(image, self.pairs_P2)]
        few_P = (friends_P2 <= MOST_FRIENDS).all(axis=1)
        moved_P = (np.abs(self.placement_P4) > MOVED).any(axis=1)
        return np.asarray((self.inliers_P >= SURE) & few_P & moved_P)

    def __len__(self) -> int:
        return len(self.inliers_P)

    def take(self, rows: BoolArray | IntArray) -> LesionPairs:
        """Return the given pairs."""
        return LesionPairs(
            pairs_P2=self.pairs_P2[rows],
            inliers_P=self.inliers_P[rows],
            spread_P=self.spread_P[rows],
            placement_P4=self.placement_P4[rows],
        )


def find_same_lesions(
    keypoints: Keypoints, group_N: StrArray, threads: int, progress: Progress
) -> LesionPairs:
    """Return pairs of images of different groups that show one lesion, from LISTED inliers on.

    Neither the order of the images nor the number of threads matters.

    Args:
        keypoints: of all images.
        group_N: lesion ids; pairs within one are not reported.
        threads: that share the search; the verification takes one.
        progress: called as progress("lesion candidates" or "lesion pairs", done, total).
    """
    found = verified_pairs(keypoints, group_N, threads, progress)
    return found.take(found.inliers_P >= LISTED)


def verified_pairs(keypoints: Keypoints, group_N: StrArray, threads: int, progress: Progress) -> LesionPairs:
    """Return every candidate pair that a similarity explains in part and widely enough; as ``find_same_lesions``."""
    order = np.array(sorted(range(len(keypoints)), key=lambda row: _digest(keypoints, row)), np.int64)
    group = np.unique(group_N, return_inverse=True)[1]
    pairs = order[candidate_pairs(keypoints.take(order), group[order], threads, progress)].reshape(-1, 2)
    found = _verified(keypoints, pairs, progress)
    further = friends_of_friends(found, group, {(min(p), max(p)) for p in pairs.tolist()})
    return _ascending(found + _verified(keypoints, further, progress), keypoints)


def friends_of_friends(found: list[Found], group_N: IntArray, tried: set[tuple[int, int]]) -> IntArray:
    """Return pairs (P, 2) of different groups, not ``tried`` yet, that both match a third image from LISTED inliers on.

    An image that matches more than MOST_FRIENDS is passed over.
    """
    friends: dict[int, set[int]] = {}
    for one, two, verified in found:
        if verified.inliers >= LISTED:
            friends.setdefault(one, set()).add(two)
            friends.setdefault(two, set()).add(one)
    small = [sorted(others) for others in friends.values() if len(others) <= MOST_FRIENDS]
    pairs = {pair for others in small for pair in combinations(others, 2)} - tried
    kept = sorted(pair for pair in pairs if group_N[pair[0]] != group_N[pair[1]])
    return np.array(kept, dtype=np.int64).reshape(-1, 2)


def _verified(keypoints: Keypoints, pairs_P2: IntArray, progress: Progress) -> list[Found]:
    """Return what verification says of the pairs that it does not refuse."""
    found: list[Found] = []
    last, first = -1, None
    for done, (one, two) in enumerate(pairs_P2.tolist(), start=1):
        if one != last or first is None:
            last, first = one, keypoints.points(one)
        verified = verify(first, keypoints.points(two))
        if verified is not None and verified.spread >= LEAST_SPREAD:
            found.append((one, two, verified))
        if done % 1000 == 0 or done == len(pairs_P2):
            progress("lesion pairs", done, len(pairs_P2))
    return found


def _digest(keypoints: Keypoints, row: int) -> bytes:
    """Return what orders images by what they show: equal only for equal keypoints."""
    count = keypoints.count_N[row]
    digest = hashlib.sha256(np.ascontiguousarray(keypoints.descriptor_NKD[row, :count]).data)
    digest.update(np.ascontiguousarray(keypoints.frame_NK4[row, :count]).data)
    return digest.digest()


def _ascending(found: list[Found], keypoints: Keypoints) -> LesionPairs:
    """Order each pair and all pairs by row; exchanging the images of a pair inverts its similarity."""
    rows = []
    for one, two, verified in found:
        zoom_turn, shift = verified.zoom_turn, verified.shift
        if one > two:
            zoom_turn, shift = 1 / zoom_turn, -shift / zoom_turn
        first, second = min(one, two), max(one, two)
        place = placement(zoom_turn, shift, keypoints.size_N2[first], keypoints.size_N2[second])
        rows.append((first, second, verified.inliers, verified.spread, *place))
    table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 8)
    return LesionPairs(
        pairs_P2=table[:, :2].astype(np.int64),
        inliers_P=table[:, 2].astype(np.int64),
        spread_P=table[:, 3],
        placement_P4=table[:, 4:],
    )


def placement(
    zoom_turn: complex, shift: complex, first_2: IntArray, second_2: IntArray
) -> tuple[float, float, float, float]:
    """Return (log zoom, angle, x, y) of p -> z p + t in coordinates from -1 to 1 over the centred squares.

    ``first_2`` and ``second_2`` are the images' width and height in the pixels that z and t are of.
    """
    middle_1, middle_2 = (complex(*(size_2 / 2)) for size_2 in (first_2, second_2))
    half_1, half_2 = (float(min(size_2)) / 2 for size_2 in (first_2, second_2))
    moved = (zoom_turn * middle_1 + shift - middle_2) / half_2
    return (
        float(np.log(abs(zoom_turn) * half_1 / half_2)),
        float(np.angle(zoom_turn)),
        moved.real,
        moved.imag,
    )
