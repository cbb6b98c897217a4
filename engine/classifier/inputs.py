"""The one place where uint8 images become a network's input, and where a fit finds its images.

Shape legend: N images, H, W, C=3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.artifacts import decoded_images
from engine.training.layout import memory_format
from engine.types import ImageArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_unit(images_NHWC: ImageArray, device: str) -> Tensor:
    """Return uint8 (N, H, W, 3) as float32 (N, 3, H, W) in [0, 1] on ``device``."""
    tensor = torch.from_numpy(np.require(images_NHWC, requirements=["C", "W"])).to(device)
    return tensor.permute(0, 3, 1, 2).contiguous().float().div_(255.0)


def normalise(unit_NCHW: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (x - mean) / std by channel, laid out in memory as the networks are."""
    mean_C = torch.tensor(mean, device=unit_NCHW.device).view(1, 3, 1, 1)
    std_C = torch.tensor(std, device=unit_NCHW.device).view(1, 3, 1, 1)
    return (unit_NCHW - mean_C).div_(std_C).contiguous(memory_format=memory_format(unit_NCHW.device.type))


@dataclass(frozen=True, kw_only=True)
class ImageRows:
    """N images that lie in one or several ``.npy`` files: image i is row ``row_N[i]`` of ``files[source_N[i]]``."""

    files: tuple[Path, ...]
    source_N: npt.NDArray[np.int64]
    row_N: npt.NDArray[np.int64]

    @classmethod
    def of(cls, file: Path, row_N: npt.NDArray[np.int64]) -> ImageRows:
        """Rows of a single file."""
        return cls(files=(file,), source_N=np.zeros(len(row_N), dtype=np.int64), row_N=row_N)

    def __len__(self) -> int:
        return len(self.row_N)

    def open(self) -> OpenImages:
        """Open the files (read-only memmaps)."""
        used = set(self.source_N.tolist())
        arrays = [
            decoded_images.open_file(file) if position in used else np.zeros((0, 0, 0, 3), np.uint8)
            for position, file in enumerate(self.files)
        ]
        return OpenImages(tuple(arrays), self.source_N, self.row_N)


class OpenImages:
    """ImageRows with its files open."""

    def __init__(
        self,
        arrays: tuple[ImageArray, ...],
        source_N: npt.NDArray[np.int64],
        row_N: npt.NDArray[np.int64],
    ) -> None:
        self._arrays, self._source_N, self._row_N = arrays, source_N, row_N

    def take(self, positions: npt.NDArray[np.int64]) -> ImageArray:
        """Return the images at the given positions, uint8 (n, H, W, 3): one gather per file, not a look-up per image."""
        source_n, row_n = self._source_N[positions], self._row_N[positions]
        used = np.unique(source_n).tolist()
        if len(used) == 1:
            return np.asarray(self._arrays[used[0]].take(row_n, axis=0))
        taken = np.empty((len(row_n), *self._arrays[used[0]].shape[1:]), dtype=np.uint8)
        for source in used:
            of_source = np.flatnonzero(source_n == source)
            taken[of_source] = self._arrays[source].take(row_n[of_source], axis=0)
        return taken
