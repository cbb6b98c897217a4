"""Finds near-duplicate images under different lesion ids: one lesion photographed twice, or one photograph kept twice.

Two steps. Candidates are nearest neighbours of blurred, brightness-free thumbnails (FAISS). A candidate is a
duplicate where its fine detail, with contrast made locally equal so that a dark outline counts no more than a hair or
a skin pore, correlates at some small shift, and clearly better than with other candidates (handwritten ones all look
alike, and are no duplicates). On HAM10000 at 64 pixels this finds pairs that differ in colour, light
and framing; all those over the threshold show one lesion to the eye.

Shape legend: N images, P pairs, S side of the thumbnail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft, ndimage

from engine.types import BoolArray, FloatArray, ImageArray, IntArray, StrArray

SIDE = 64
"""Side of the thumbnails compared; smaller images are compared at their own."""
GREY = np.array([0.3, 0.3, 0.4], dtype=np.float32)
COARSE_GRID = 16
COARSE_BLUR = 1.5
COARSE_SIMILARITY = 0.8
NEIGHBOURS = 20
FINE_BAND = (0.6, 1.3)
CONTRAST_WINDOW = 2.0
CONTRAST_FLOOR = 0.3
CLIP = 1.5
LARGEST_SHIFT = 1 / 8
DETAIL_MATCH = 0.47
RIVAL = 4
RATIO = 0.8
"""A pair's distance must be under RATIO times that of either image's RIVAL-th best candidate (after Lowe 2004)."""
BLOCK = 512

Float32 = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """P pairs of rows (first < second) and their distance, 1 - correlation of detail, ascending rows."""

    pairs_P2: IntArray
    distance_P: FloatArray


def find_duplicates(images_NHWC: ImageArray, group_N: StrArray, progress: Progress) -> Duplicates:
    """Return near-duplicates among images of different groups.

    Args:
        images_NHWC: (N, H, W, 3) uint8, square; may be a memmap.
        group_N: lesion ids; pairs within one are not reported.
        progress: called as progress("duplicates", done, total).
    """
    grey_NSS = _thumbnails(images_NHWC)
    pairs_P2 = _candidates(grey_NSS, group_N)
    correlation_P = _detail_correlation(_detail(grey_NSS), pairs_P2, progress)
    match_P = correlation_P > detail_threshold(grey_NSS.shape[1])
    match_P &= _stands_out(pairs_P2, correlation_P, len(grey_NSS))
    return Duplicates(
        pairs_P2=pairs_P2[match_P], distance_P=np.round(1.0 - correlation_P[match_P].astype(np.float64), 4)
    )


def detail_threshold(side: int) -> float:
    """Return the correlation over which detail matches: the fewer pixels, the more unrelated images agree by chance."""
    return float(DETAIL_MATCH ** ((side / SIDE) ** 2))


def _thumbnails(images_NHWC: ImageArray) -> Float32:
    """Return (N, S, S) grey thumbnails, 0-255."""
    count, height = images_NHWC.shape[:2]
    side = min(SIDE, height)
    grey_NSS = np.empty((count, side, side), dtype=np.float32)
    for row in range(count):
        image = Image.fromarray(np.asarray(images_NHWC[row]))
        small = image if side == height else image.resize((side, side), Image.Resampling.BOX)
        grey_NSS[row] = np.asarray(small, dtype=np.float32) @ GREY
    return grey_NSS


def _candidates(grey_NSS: Float32, group_N: StrArray) -> IntArray:
    """Return pairs (P, 2) of neighbouring rows with similar coarse layout, sorted, each once."""
    count, side = grey_NSS.shape[:2]
    step = max(1, side // COARSE_GRID)
    coarse_ND = np.empty((count, len(range(step // 2, side, step)) ** 2), dtype=np.float32)
    for row in range(count):
        blurred = ndimage.gaussian_filter(grey_NSS[row], COARSE_BLUR * side / SIDE)
        coarse_ND[row] = blurred[step // 2 :: step, step // 2 :: step].ravel()
    coarse_ND -= coarse_ND.mean(axis=1, keepdims=True)
    coarse_ND /= np.maximum(np.linalg.norm(coarse_ND, axis=1, keepdims=True), 1e-6)
    index = faiss.IndexFlatIP(coarse_ND.shape[1])
    index.add(coarse_ND)
    similarity_NK, neighbour_NK = index.search(coarse_ND, min(NEIGHBOURS + 1, count))
    first, rank = np.nonzero(similarity_NK >= COARSE_SIMILARITY)
    second = neighbour_NK[first, rank]
    apart = group_N[first] != group_N[second]
    pairs_P2 = np.sort(np.stack([first, second], axis=1)[apart], axis=1)
    return np.unique(pairs_P2, axis=0).astype(np.int64).reshape(-1, 2)


def _detail(grey_NSS: Float32) -> Float32:
    """Return (N, S, S) unit-norm fine detail: a narrow band, its local contrast made equal, faded at the rim."""
    side = grey_NSS.shape[1]
    window = np.hanning(side + 2)[1:-1]
    window_SS = np.sqrt(np.outer(window, window))
    detail_NSS = np.empty_like(grey_NSS)
    for row, grey_SS in enumerate(grey_NSS):
        low, high = (ndimage.gaussian_filter(grey_SS, sigma) for sigma in FINE_BAND)
        band_SS = low - high
        local_SS = np.sqrt(ndimage.gaussian_filter(band_SS**2, CONTRAST_WINDOW)) + CONTRAST_FLOOR
        even_SS = np.clip(band_SS / local_SS, -CLIP, CLIP) * window_SS
        even_SS -= even_SS.mean()
        detail_NSS[row] = even_SS / max(float(np.linalg.norm(even_SS)), 1e-6)
    return detail_NSS


def _detail_correlation(detail_NSS: Float32, pairs_P2: IntArray, progress: Progress) -> Float32:
    """Return each pair's largest correlation over shifts of up to LARGEST_SHIFT of the side."""
    side = detail_NSS.shape[1]
    shift = max(1, round(LARGEST_SHIFT * side))
    size = (side + 2 * shift, side + 2 * shift)
    near = np.arange(-shift, shift + 1)
    rows, position = np.unique(pairs_P2, return_inverse=True)
    position_P2 = position.reshape(-1, 2)
    spectrum = np.empty((len(rows), size[0], size[1] // 2 + 1), dtype=np.complex64)
    for start in range(0, len(rows), BLOCK):
        spectrum[start : start + BLOCK] = fft.rfft2(detail_NSS[rows[start : start + BLOCK]], size)
    best_P = np.empty(len(pairs_P2), dtype=np.float32)
    for start in range(0, len(pairs_P2), BLOCK):
        first, second = position_P2[start : start + BLOCK].T
        correlation = fft.irfft2(spectrum[first].conj() * spectrum[second], size)
        best_P[start : start + BLOCK] = correlation[:, near[:, None], near].max(axis=(1, 2))
        progress("duplicates", min(start + BLOCK, len(pairs_P2)), len(pairs_P2))
    return best_P


def _stands_out(pairs_P2: IntArray, correlation_P: Float32, count: int) -> BoolArray:
    """Return which pairs are clearly closer than their images' RIVAL-th best candidates."""
    image = pairs_P2.ravel()
    correlation = np.repeat(correlation_P, 2)
    order = np.lexsort((-correlation, image))
    image, correlation = image[order], correlation[order]
    start = np.searchsorted(image, np.arange(count))
    rival_N = np.zeros(count, dtype=np.float32)
    has_N = np.bincount(image, minlength=count) >= RIVAL
    rival_N[has_N] = correlation[start[has_N] + RIVAL - 1]
    return np.asarray(1.0 - correlation_P < RATIO * (1.0 - rival_N[pairs_P2].max(axis=1)))
