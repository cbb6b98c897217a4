"""What leaves a run with a classifier: the calibrated network, and what its inputs and outputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from engine.artifacts.calibration import Calibration
from engine.classifier.weights import ClassifierMeta, UnitInputClassifier

DECODING: Final = "decoding.py"
"""What decodes photographs, as it was for the training: a copy of the engine's module."""


IN_AND_OUT: Final[Mapping[str, str]] = {
    "input": "image: float32 (N,3,H,W) in [0,1]; mean and std are applied inside",
    "output": "probability: float32 (N,C), calibrated; columns are classes",
}
"""What goes into ``Calibrated`` and comes out, in whatever form it is written."""


class Calibrated(nn.Module):
    """softmax(logits / temperature) of RGB in [0, 1], (N, 3, H, W); mean and std are applied inside."""

    def __init__(self, model: nn.Module, meta: ClassifierMeta, temperature: float) -> None:
        super().__init__()
        self.classifier = UnitInputClassifier(model, meta)
        self.temperature = temperature
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Return probabilities (N, C)."""
        return torch.softmax(self.classifier(image) / self.temperature, dim=1)


def export_program(network: nn.Module, image_size: int) -> torch.export.ExportedProgram:
    """Return the network as torch.export traces it, for any number of images from two on."""
    images = torch.zeros(2, 3, image_size, image_size)
    return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def describe_preprocessing(
    meta: ClassifierMeta, calibration: Calibration, fit: str, networks: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what happens to an image file before the network, and what its outputs mean, as JSON.

    ``networks`` says what goes into each form of the network that lies beside it, and what comes out.
    """
    return {
        "image_size": meta.image_size,
        "channels": "RGB",
        "decoding": f"{DECODING} beside this file: upright by EXIF, 8 bits, transparent parts white; a JPEG comes at the "
        "smallest of libjpeg's scales that has twice the pixels asked for (Pillow's draft), which changes them",
        "fit": fit,
        "geometry": "centred square of the short side" if fit == "crop" else "whole image, stretched",
        "resize": "Pillow bicubic (antialiased), cut and scaled in one step, rounded to uint8",
        "range": "divide uint8 by 255",
        "mean": list(meta.mean),
        "std": list(meta.std),
        "classes": list(meta.classes),
        **networks,
        "temperature": calibration.temperature,
        "malignant": {"classes": list(calibration.malignant), "score": "sum of their probabilities",
                      "threshold": calibration.threshold, "specificity_on_val": calibration.specificity},
    }  # fmt: skip
