"""Same-class neighbours of train lesions, whose embeddings stand in for a lesion's own while the denoiser trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.types import FloatArray, IntArray, StrArray

BLOCK = 4096
"""Images compared with all others of their class at a time: memory grows with N, not with its square."""
PRODUCTS = 2**28
"""Most products held at a time (1 GiB): blocks are smaller in classes of more than 65,536 images."""
SLICE = 256
"""Images of a block whose nearest are picked out at a time."""


def same_class_neighbours(
    fused_NF: FloatArray, label_N: npt.NDArray[np.int64], lesion_id_N: StrArray, count: int = 5
) -> IntArray:
    """Return the positions (N, count) of each image's nearest images of its class from other lesions.

    Nearest by inner product, ties by position. Where a class has fewer such images the list repeats its last entry,
    and where it has none the image stands for itself.

    Args:
        fused_NF: unit rows.
        label_N: class of each image.
        lesion_id_N: lesion of each image; never its own neighbour.
        count: neighbours an image.
    """
    result = np.repeat(np.arange(len(label_N), dtype=np.int64)[:, None], count, axis=1)
    lesion_N = np.unique(lesion_id_N, return_inverse=True)[1]
    for label in np.unique(label_N):
        members = np.flatnonzero(label_N == label)
        lesion_C, rows_CF = lesion_N[members], fused_NF[members]
        step = min(BLOCK, max(1, PRODUCTS // len(members)))
        for start in range(0, len(members), step):
            block = members[start : start + step]
            result[block] = _of_block(rows_CF, lesion_C, members, start, result[block])
    return result


def _of_block(
    rows_CF: FloatArray, lesion_C: IntArray, members_C: IntArray, start: int, itself_BK: IntArray
) -> IntArray:
    """Return the neighbours (B, K) of the B members from ``start`` on."""
    end = start + len(itself_BK)
    block_BF = rows_CF[start:end].copy()  # of one buffer numpy takes another product: other last bits
    similarity_BC = block_BF @ rows_CF.T
    pieces = []
    for first in range(0, len(block_BF), SLICE):
        similarity = similarity_BC[first : first + SLICE]
        similarity[lesion_C[start:end][first : first + SLICE, None] == lesion_C] = -np.inf
        pieces.append(_nearest(similarity, members_C, itself_BK[first : first + SLICE]))
    return np.concatenate(pieces)


def _nearest(similarity_BC: FloatArray, members_C: IntArray, itself_BK: IntArray) -> IntArray:
    """Return the K most similar members of each row, nearest first, ties by position; -inf: not a neighbour.

    Fewer than K: the last one repeats; none: ``itself_BK`` stays. Only what reaches the K-th largest value is sorted.
    """
    found_BK, count = itself_BK.copy(), itself_BK.shape[1]
    last = max(0, similarity_BC.shape[1] - count)
    least_B: Any = np.partition(similarity_BC, last, axis=1)[:, last]
    row_P, place_P = np.nonzero((similarity_BC >= least_B[:, None]) & (similarity_BC > -np.inf))
    order = np.lexsort((place_P, -similarity_BC[row_P, place_P], row_P))
    number_B = np.bincount(row_P, minlength=len(found_BK))
    some = np.flatnonzero(number_B)
    rank_BK = np.minimum(np.arange(count), number_B[some, None] - 1)
    first_B = np.cumsum(number_B) - number_B
    found_BK[some] = members_C[place_P[order[first_B[some, None] + rank_BK]]]
    return found_BK
