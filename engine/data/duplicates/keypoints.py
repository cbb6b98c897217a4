"""Finds keypoints of images and describes them, so that one lesion looks alike in two photographs.

Lightness (CIE L*) at one scale for all images, less its local mean and divided by its local spread, so that light, colour
balance and pressure matter little; on it OpenCV's SIFT (Lowe, "Distinctive image features from scale-invariant keypoints",
IJCV 2004), whose descriptors are made into roots (RootSIFT: Arandjelovic and Zisserman, CVPR 2012).

Shape legend: N images, K keypoints at most, D = 128.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.data.decoding import open_picture, rgb
from engine.data.duplicates.verification import Points
from engine.types import IntArray

SIDE = 150
"""Short side, in pixels, at which keypoints are sought; HAM10000 at 200 x 150 has it. SIFT doubles it once more."""
LONGEST = 4 * SIDE
WINDOW = 12.0
"""Gaussian (pixels) over which local mean and spread are taken."""
FLOOR = 4.0
"""Added to the local spread, of 255: plain skin stays plain."""
CONTRAST = 48.0
"""Grey levels per local spread, about the middle grey 128."""
DARK, RIM = 50, 15
"""Lightness (of 255) under which a corner is the dark rim of a round field of view; pixels by which that is widened."""
MOST = 300
"""Keypoints kept of an image: those of the strongest response."""
WEAKEST, EDGE = 0.02, 15.0
"""SIFT's thresholds of contrast and of edges."""
DESCRIPTOR = 128
CHUNK = 16

Pixels = npt.NDArray[np.uint8]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """Keypoints of N images, strongest first: rows of ``frame_NK4`` and ``descriptor_NKD`` from ``count_N`` on are 0.

    ``frame_NK4`` holds x, y and size in pixels of the scale whose short side is SIDE, and the angle in radians;
    ``descriptor_NKD`` RootSIFT times 255; ``size_N2`` width and height at that scale.
    """

    frame_NK4: npt.NDArray[np.float32]
    descriptor_NKD: Pixels
    count_N: IntArray
    size_N2: IntArray

    def __len__(self) -> int:
        return len(self.count_N)

    def take(self, rows: IntArray) -> Keypoints:
        """Return the given images' keypoints."""
        return Keypoints(
            frame_NK4=self.frame_NK4[rows],
            descriptor_NKD=self.descriptor_NKD[rows],
            count_N=self.count_N[rows],
            size_N2=self.size_N2[rows],
        )

    def points(self, row: int) -> Points:
        """Return one image's keypoints as ``verify`` takes them."""
        frame_K4 = self.frame_NK4[row, : self.count_N[row]]
        return Points(
            place_K=(frame_K4[:, 0] + 1j * frame_K4[:, 1]).astype(np.complex64),
            size_K=frame_K4[:, 2],
            angle_K=frame_K4[:, 3],
            descriptor_KD=unit(self.descriptor_NKD[row, : self.count_N[row]]),
        )


def unit(descriptor_KD: Pixels) -> npt.NDArray[np.float32]:
    """Return RootSIFT times 255 as descriptors of norm 1."""
    float_KD = descriptor_KD.astype(np.float32)
    norm_K1 = np.sqrt(np.einsum("kd,kd->k", float_KD, float_KD))[:, None]
    return np.asarray(float_KD / np.maximum(norm_K1, 1.0), dtype=np.float32)


def find_keypoints(sources: Sequence[str | Path | Pixels], threads: int, progress: Progress) -> Keypoints:
    """Return the keypoints of image files or (h, w, 3) arrays; they do not depend on the number of threads.

    Args:
        sources: one per image.
        threads: that share the work.
        progress: called as progress("keypoints", done, total).

    Raises:
        ImageFileError: a file cannot be decoded (any more).
    """
    count = len(sources)
    found = Keypoints(
        frame_NK4=np.zeros((count, MOST, 4), np.float32),
        descriptor_NKD=np.zeros((count, MOST, DESCRIPTOR), np.uint8),
        count_N=np.zeros(count, np.int64),
        size_N2=np.zeros((count, 2), np.int64),
    )

    def fill(start: int) -> None:
        for row in range(start, min(start + CHUNK, count)):
            grey_HW = even_lightness(sources[row])
            frame_K4, descriptor_KD = describe(grey_HW)
            found.count_N[row] = kept = len(frame_K4)
            found.frame_NK4[row, :kept], found.descriptor_NKD[row, :kept] = frame_K4, descriptor_KD
            found.size_N2[row] = grey_HW.shape[::-1]

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the pool's threads are enough
    try:
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            for chunk, _ in enumerate(pool.map(fill, range(0, count, CHUNK))):
                progress("keypoints", min((chunk + 1) * CHUNK, count), count)
    finally:
        cv2.setNumThreads(before)
    return found


def even_lightness(source: str | Path | Pixels) -> Pixels:
    """Return lightness (h, w) at the common scale, its local mean 128 and its local contrast evened (ImageFileError)."""
    image = rgb(open_picture(source, 2 * SIDE).image)
    zoom = min(SIDE / min(image.size), LONGEST / max(image.size))
    size = (max(round(image.width * zoom), 1), max(round(image.height * zoom), 1))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    lightness_HW = np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2LAB)[..., 0], np.uint8)
    seen_HW = (~dark_rim(lightness_HW)).astype(np.float32)
    weight_HW = np.maximum(_blurred(seen_HW), 1e-3)
    mean_HW = _blurred((lightness_HW * seen_HW).astype(np.float32)) / weight_HW
    above_HW = ((lightness_HW - mean_HW) * seen_HW).astype(np.float32)
    spread_HW = np.sqrt(_blurred(above_HW**2) / weight_HW) + FLOOR
    return np.clip(above_HW / spread_HW * CONTRAST + 128.0, 0, 255).astype(np.uint8)


def dark_rim(lightness_HW: Pixels) -> npt.NDArray[np.bool_]:
    """Return where a dermatoscope's round field of view ends: what is dark and hangs together with a corner.

    All such rims are alike, so that their keypoints would agree between any two images.
    """
    dark_HW = (lightness_HW < DARK).astype(np.uint8)
    label_HW = cv2.connectedComponents(dark_HW)[1]
    corners = label_HW[[0, 0, -1, -1], [0, -1, 0, -1]]
    rim_HW = np.isin(label_HW, corners[corners > 0]).astype(np.uint8)
    return np.asarray(cv2.dilate(rim_HW, np.ones((RIM, RIM), np.uint8)) > 0)


def _blurred(values_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values_HW, (0, 0), WINDOW), dtype=np.float32)


def describe(grey_HW: Pixels) -> tuple[npt.NDArray[np.float32], Pixels]:
    """Return frames (K, 4) and RootSIFT descriptors times 255 (K, D) of the MOST strongest keypoints."""
    sift = cv2.SIFT.create(nfeatures=MOST, contrastThreshold=WEAKEST, edgeThreshold=EDGE)
    keypoints, descriptor_KD = sift.detectAndCompute(grey_HW, None)
    if not keypoints:
        return np.empty((0, 4), np.float32), np.empty((0, DESCRIPTOR), np.uint8)
    frame_K4 = np.array([[*k.pt, k.size, np.radians(k.angle)] for k in keypoints], np.float32)
    response_K = np.array([k.response for k in keypoints], np.float32)
    order = np.lexsort((frame_K4[:, 3], frame_K4[:, 1], frame_K4[:, 0], -response_K))[:MOST]
    share_KD = descriptor_KD[order] / np.maximum(descriptor_KD[order].sum(axis=1, keepdims=True), 1e-6)
    return frame_K4[order], np.round(np.sqrt(share_KD) * 255.0).astype(np.uint8)
