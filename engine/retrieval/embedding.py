"""Multi-level embeddings (Kim et al.): hidden states of evenly spaced layers of any CLIPVisionModel.

Shape legend: N images, L levels, D width, F fused width, H, W image side, P patches.
Low levels carry texture and colour, middle ones local structure, high ones overall shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import ConfigError
from engine.retrieval.clip import open_vision
from engine.types import FloatArray, ImageArray

DTYPES: Final = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What ``backend.precision`` makes of a tower's weights."""
CHUNK: Final = 32
"""Images a forward pass, always: float32 results depend on the batch size, so the last pass is padded."""

Float32Array = npt.NDArray[np.float32]


def level_layers(layers: int, levels: int) -> tuple[int, ...]:
    """Return the 1-based layers whose output is embedded: evenly spaced, the last always among them.

    Level l of L is layer l * layers / L, rounded half up: 5 of 12 are 2, 5, 7, 10, 12; 5 of 6 are 1, 2, 4, 5, 6.

    Raises:
        ConfigError: more levels than layers.
    """
    if levels > layers:
        raise ConfigError(
            f"embedder.levels: {levels} levels asked of an image tower with {layers} layers; "
            f"lower it to {layers} or less"
        )
    return tuple((2 * level * layers + levels) // (2 * levels) for level in range(1, levels + 1))


class LevelEmbedder:
    """The image tower of a saved CLIP as a function from images to levels, in fixed chunks.

    With ``bf16`` or ``fp16`` its weights and states have 16 bits; what comes out is float32 in any case.
    """

    def __init__(
        self,
        folder: Path,
        layers: Sequence[int],
        tokens: Literal["cls", "patches"] = "cls",
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        """Open ``folder`` (Hugging Face layout); ``layers`` are 1-based, see ``level_layers``."""
        self._dtype = DTYPES[precision]
        self._model, mean, std = open_vision(folder, device, self._dtype)
        self._layers = tuple(layers)
        self._tokens = tokens
        self._device = device
        self._mean_C11 = torch.tensor(mean, device=device).view(-1, 1, 1)
        self._std_C11 = torch.tensor(std, device=device).view(-1, 1, 1)

    @property
    def width(self) -> int:
        """Width D of a level."""
        return int(self._model.config.hidden_size)

    def __call__(self, images_NHWC: ImageArray) -> Float32Array:
        """Return levels (N, L, D) float32, each level layer-normed without affine, of uint8 RGB images."""
        chunks = [self._chunk(images_NHWC[at : at + CHUNK]) for at in range(0, len(images_NHWC), CHUNK)]
        return np.concatenate(chunks or [np.zeros((0, len(self._layers), self.width), dtype=np.float32)])

    def _chunk(self, images_NHWC: ImageArray) -> Float32Array:
        padded = np.zeros((CHUNK, *images_NHWC.shape[1:]), dtype=np.uint8)
        padded[: len(images_NHWC)] = images_NHWC
        pixels_NCHW = normalise(
            to_pixels(padded).to(self._device), self._model.config.image_size, self._mean_C11, self._std_C11
        )
        with torch.inference_mode():
            states = self._model(
                pixel_values=pixels_NCHW.to(self._dtype), output_hidden_states=True
            ).hidden_states
            levels_NLD = torch.stack([level(states[layer], self._tokens) for layer in self._layers], dim=1)
        return np.asarray(levels_NLD[: len(images_NHWC)].cpu().numpy(), dtype=np.float32)


def level(state_NPD: Tensor, tokens: str) -> Tensor:
    """Return one level (N, D) of a layer's hidden state: the class token or the mean patch, layer-normed."""
    chosen_ND = (state_NPD[:, 0] if tokens == "cls" else state_NPD[:, 1:].float().mean(dim=1)).float()
    return F.layer_norm(chosen_ND, chosen_ND.shape[-1:])


def to_pixels(images_NHWC: ImageArray) -> Tensor:
    """Return uint8 RGB images (N, H, W, 3) as float32 (N, 3, H, W) in 0-1."""
    return torch.from_numpy(np.ascontiguousarray(images_NHWC)).permute(0, 3, 1, 2).float() / 255


def normalise(pixels_NCHW: Tensor, image_size: int, mean_C11: Tensor, std_C11: Tensor) -> Tensor:
    """Resize 0-1 pixels to a CLIP's side (bicubic, antialiased; untouched where it fits) and standardise them."""
    if pixels_NCHW.shape[-2:] != (image_size, image_size):
        pixels_NCHW = F.interpolate(
            pixels_NCHW, size=(image_size, image_size), mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
    return (pixels_NCHW - mean_C11) / std_C11


def fuse(levels_NLD: FloatArray, how: Literal["mean", "concat"]) -> Float32Array:
    """Fuse levels into unit rows for search: their mean e_m (N, D) as in the paper, or side by side (N, L*D)."""
    levels = np.asarray(levels_NLD, dtype=np.float32)
    fused_NF = levels.mean(axis=1, dtype=np.float32) if how == "mean" else levels.reshape(len(levels), -1)
    return unit_rows(fused_NF)


def unit_rows(rows_NF: FloatArray) -> Float32Array:
    """Scale rows to length 1; a zero row stays zero."""
    rows = np.asarray(rows_NF, dtype=np.float32)
    length_N1 = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length_N1, 1e-12), dtype=np.float32)
