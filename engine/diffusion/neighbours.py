"""Same-class neighbours of train lesions, whose embeddings stand in for a lesion's own while the denoiser trains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.types import FloatArray, IntArray, StrArray

BLOCK = 4096
"""Images compared with all others of their class at a time: memory grows with N, not with its square."""


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
    for label in np.unique(label_N):
        members = np.flatnonzero(label_N == label)
        lesion = lesion_id_N[members]
        for start in range(0, len(members), BLOCK):
            block = members[start : start + BLOCK]
            similarity = np.asarray(fused_NF[block] @ fused_NF[members].T, dtype=np.float64)
            similarity[lesion[start : start + BLOCK, None] == lesion[None, :]] = -np.inf
            for row, member in enumerate(block):
                order = np.argsort(-similarity[row], kind="stable")[:count]
                found = members[order[np.isfinite(similarity[row][order])]]
                if len(found):
                    result[member] = np.concatenate([found, np.repeat(found[-1:], count - len(found))])
    return result
