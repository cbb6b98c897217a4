"""Features of images: what a classifier's last layer sees, or Inception's pool layer from a local file.

Shape legend: N images, F feature width, H, W.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.artifacts import decoded_images
from engine.classifier.inputs import IMAGENET_MEAN, IMAGENET_STD, normalise, to_unit
from engine.classifier.predict import CHUNK, MapRows, chunks
from engine.classifier.weights import load_classifier
from engine.errors import DataError

Rows = npt.NDArray[np.int64]
Features = npt.NDArray[np.float32]
INCEPTION_SIDE = 299


@dataclass(frozen=True, kw_only=True)
class FeatureWorker:
    """A recipe (a ChunkWorker) for features (n, F) float32 of rows of an ``images.npy``.

    ``weights`` is a classifier written by hardcase; with ``inception`` the file of torchvision's inception_v3.
    """

    weights: Path
    images: Path
    inception: bool = False
    device: str = "cpu"
    threads: int = 1

    def load(self) -> Callable[[Rows], Features]:
        """Open weights and images; the function maps up to CHUNK row positions to features."""
        torch.set_num_threads(self.threads)
        images_NHWC = decoded_images.open_file(self.images)
        mean: tuple[float, ...] = IMAGENET_MEAN
        std: tuple[float, ...] = IMAGENET_STD
        if self.inception:
            network = load_inception(self.weights)
        else:
            network, meta = load_classifier(self.weights)
            mean, std = meta.mean, meta.std
        network.to(self.device)
        seen = watch_head(network)

        def features(rows: Rows) -> Features:
            padded = images_NHWC[rows][np.minimum(np.arange(CHUNK), len(rows) - 1)]
            unit = to_unit(padded, self.device)
            if self.inception:
                unit = nn.functional.interpolate(
                    unit, size=(INCEPTION_SIDE, INCEPTION_SIDE), mode="bilinear", antialias=True
                )
            with torch.inference_mode():
                network(normalise(unit, mean, std))
            return np.asarray(seen[-1][: len(rows)].float().cpu().numpy())

        return features


def predict_features(map_rows: MapRows, worker: FeatureWorker, rows_N: Rows, what: str) -> Features:
    """Return features (N, F) of the given rows, in their order; N = 0 gives (0, 0)."""
    pieces = list(map_rows(worker, chunks(rows_N), what))
    return np.concatenate(pieces) if pieces else np.zeros((0, 0), dtype=np.float32)


def last_linear(network: nn.Module) -> nn.Linear:
    """Return a classifier's last linear layer: its head, in every model of timm and torchvision used here."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]


def watch_head(network: nn.Module) -> list[Tensor]:
    """Return a list whose last entry is, after each forward pass, the input of the network's last linear layer."""
    seen: list[Tensor] = []

    def keep(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[:] = [inputs[0].flatten(1)]

    last_linear(network).register_forward_pre_hook(keep)
    return seen


def load_inception(path: Path) -> nn.Module:
    """Build torchvision's inception_v3 with the weights of a local file (.safetensors, or .pth without pickled code).

    Raises:
        DataError: the file is missing, broken, or holds another network; says where to get the right one.
    """
    remedy = (
        "save it once on a machine with a network: "
        "torch.save(torchvision.models.inception_v3(weights='DEFAULT').state_dict(), 'inception_v3.pth')"
    )
    if not path.is_file():
        raise DataError(f"evaluation.inception: {path} does not exist; {remedy}")
    network: nn.Module = torchvision.models.inception_v3(weights=None, aux_logits=True, init_weights=False)
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        network.load_state_dict(state)
    except Exception as error:
        reason = str(error).splitlines()[0][:120]
        raise DataError(
            f"evaluation.inception: {path} holds no inception_v3 weights ({reason}); {remedy}"
        ) from None
    return network.eval()
