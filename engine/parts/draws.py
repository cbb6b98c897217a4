"""Several probabilities an image for mining policies that ask for them: Monte-Carlo dropout, or a committee.

Shape legend: T draws or members, N images, C classes, F features of the last layer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from engine.artifacts import classifier_fit, decoded_images
from engine.classifier.predict import predict_logits, softmax
from engine.classifier.weights import read_meta
from engine.errors import StageError
from engine.parts.context import StageContext
from engine.parts.judge_folds import judge_folds, logit_worker
from engine.parts.seen import Seen, see
from engine.training.plan import derive_seed
from engine.types import DrawRequest, IntArray

Array = npt.NDArray[np.float64]


def make_draws(
    context: StageContext,
    wanted: DrawRequest,
    rows_N: IntArray,
    classes: tuple[str, ...],
    seen: Seen | None = None,
) -> Array:
    """Return probabilities (T, N, C) of rows of the images, columns in the order of ``classes``.

    Inputs: images, classifier; judge for a committee. ``seen`` is what the classifier makes of these rows, where that is
    known already.

    Raises:
        StageError: a member knows other classes than the predictions.
    """
    own = context.inputs["classifier"] / classifier_fit.WEIGHTS
    images = decoded_images.IMAGES.path(context.inputs["images"])
    if wanted.kind == "dropout":
        return _dropout(context, wanted, seen or see(context, own, images, rows_N, "features for dropout"))
    members = [own, *judge_folds(context.inputs["judge"])]
    found = []
    for member in members:
        known = read_meta(member).classes
        if known != classes:
            raise StageError(
                f"{member.name} knows {', '.join(known)}, the predictions {', '.join(classes)}; rerun"
            )
        worker = logit_worker(context, member, images)
        found.append(softmax(predict_logits(context.map, worker, rows_N, f"committee: {member.stem}")))
    return np.stack(found)


def _dropout(context: StageContext, wanted: DrawRequest, seen: Seen) -> Array:
    """Drop the inputs of the classifier's last layer; each draw's mask depends on the seed and the draw's number."""
    features_NF = seen.feature_NF
    draws = []
    with torch.inference_mode():
        for draw in range(wanted.count):
            generator = torch.Generator().manual_seed(derive_seed(context.seed, "dropout", draw))
            keep_NF = torch.rand(features_NF.shape, generator=generator) >= wanted.rate
            dropped_NF = torch.from_numpy(features_NF) * keep_NF / (1.0 - wanted.rate)
            draws.append(softmax(seen.head(dropped_NF).double().numpy()))
    return np.stack(draws)
