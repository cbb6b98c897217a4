"""What each image's prediction is compared with: its class, smoothed, or a soft label as it is; and its weight.

Shape legend: N images of a fit, B images of a batch's share, C classes.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from engine.types import FloatArray, IntArray


def target_probabilities(labels_N: IntArray, soft_NC: FloatArray, smoothing: float) -> FloatArray:
    """Return the target of every image (N, C): its soft label where it has one, else its class smoothed.

    Args:
        labels_N: the class of each image.
        soft_NC: soft labels, NaN in the rows of images without one.
        smoothing: share of a hard label that is spread over all classes (Szegedy et al. 2016); soft ones stay as they are.
    """
    classes = soft_NC.shape[1]
    hard_NC = (1.0 - smoothing) * np.eye(classes)[labels_N] + smoothing / classes
    return np.where(np.isnan(soft_NC), hard_NC, soft_NC)


def batch_loss(
    logits_BC: Tensor,
    label_B: Tensor,
    smoothing: float,
    target_BC: Tensor | None = None,
    weight_B: Tensor | None = None,
) -> Tensor:
    """Return the mean over B images of weight x cross-entropy, a scalar.

    Args:
        logits_BC: what the network says.
        label_B: the classes, for fits without soft labels.
        smoothing: of ``label_B``.
        target_BC: target probabilities, in the place of ``label_B``.
        weight_B: the weight of each image; the sum is divided by B, so that 1 changes nothing. None: 1.
    """
    target = label_B if target_BC is None else target_BC
    spread = smoothing if target_BC is None else 0.0
    if weight_B is None:
        return F.cross_entropy(logits_BC, target, label_smoothing=spread)
    loss_B = F.cross_entropy(logits_BC, target, label_smoothing=spread, reduction="none")
    return (loss_B * weight_B).mean()
