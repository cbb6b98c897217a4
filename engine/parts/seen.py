"""What a classifier makes of images: its last hidden layer, and the probabilities that follow from it.

Shape legend: N images, F features of the last layer, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engine.classifier.features import FeatureWorker, last_linear, predict_features
from engine.classifier.predict import softmax
from engine.classifier.weights import load_classifier
from engine.parts.context import StageContext
from engine.types import IntArray


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Features (N, F), float32, and the classifier's head, which turns them into logits."""

    feature_NF: npt.NDArray[np.float32]
    head: nn.Linear

    def prob_NC(self, temperature: float = 1.0) -> npt.NDArray[np.float64]:
        """Return the probabilities, (N, C)."""
        with torch.inference_mode():
            return softmax(self.head(torch.from_numpy(self.feature_NF)).double().numpy(), temperature)


def see(context: StageContext, weights: Path, images: Path, rows_N: IntArray, what: str) -> Seen:
    """Run a classifier once over rows of a file of images; ``what`` names the work in progress bars."""
    worker = FeatureWorker(weights=weights, images=images, device=context.device, threads=context.threads)
    head = last_linear(load_classifier(weights)[0])
    feature_NF = predict_features(context.map, worker, rows_N, what)
    if not len(rows_N):
        feature_NF = np.zeros((0, head.in_features), dtype=np.float32)
    return Seen(feature_NF=feature_NF, head=head)
