"""Applies a classifier to rows of an image file in fixed chunks: float32 results depend on the batch size.

Shape legend: K classifiers, N images, C classes, H, W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engine.artifacts import decoded_images
from engine.classifier.inputs import normalise, to_unit
from engine.classifier.weights import ClassifierMeta, load_classifier
from engine.errors import DataError
from engine.training.layout import memory_format
from engine.types import ImageArray

CHUNK = 32
"""Images a forward pass; the last chunk is padded by repeating its last image."""
SMALLEST = 1e-12
"""Least probability whose logarithm is taken."""

Rows = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]


class MapRows(Protocol):
    """How a worker is applied to chunks (``StageContext.map``)."""

    def __call__(self, worker: Any, chunks: Sequence[Any], what: str) -> Iterator[Any]:
        """Yield one result per chunk, in order."""
        ...


@dataclass(frozen=True, kw_only=True)
class LogitWorker:
    """A recipe for logits of rows of an ``images.npy`` (N, H, W, 3) uint8; picklable, holds paths only."""

    weights: Path
    images: Path
    device: str = "cpu"
    threads: int = 1

    def load(self) -> Callable[[Rows], Logits]:
        """Open weights and images; the function maps up to CHUNK row positions to float32 logits (n, C)."""
        torch.set_num_threads(self.threads)
        model, meta = load_classifier(self.weights)
        model.to(self.device).to(memory_format=memory_format(self.device))
        images_NHWC = decoded_images.open_file(self.images)
        if images_NHWC.shape[1] != meta.image_size:
            raise DataError(
                f"{self.images} holds {images_NHWC.shape[1]} px images but {self.weights.name} was trained on "
                f"{meta.image_size} px; set data.image_size={meta.image_size}"
            )
        return lambda rows: chunk_logits(model, meta, images_NHWC[rows], self.device)


def chunk_logits(model: nn.Module, meta: ClassifierMeta, images_NHWC: ImageArray, device: str) -> Logits:
    """Return float32 logits (n, C) of n <= CHUNK uint8 images, computed as one batch of exactly CHUNK."""
    count = len(images_NHWC)
    rows = np.minimum(np.arange(CHUNK), count - 1)
    with torch.inference_mode():
        x = normalise(to_unit(images_NHWC[rows], device), meta.mean, meta.std)
        logits: torch.Tensor = model(x)
    return np.asarray(logits[:count].float().cpu().numpy())


def predict_logits(
    map_rows: MapRows, worker: LogitWorker, rows_N: Rows, what: str
) -> npt.NDArray[np.float64]:
    """Return logits (N, C) in float64 of the given rows, in their order; N = 0 gives (0, C)."""
    if len(rows_N) == 0:
        _, meta = load_classifier(worker.weights)
        return np.zeros((0, len(meta.classes)))
    return np.concatenate(list(map_rows(worker, chunks(rows_N), what))).astype(np.float64)


def chunks(rows_N: Rows) -> list[Rows]:
    """Return the rows in pieces of at most CHUNK."""
    return [rows_N[start : start + CHUNK] for start in range(0, len(rows_N), CHUNK)]


def mean_probabilities(
    map_rows: MapRows, workers: Sequence[LogitWorker], rows_N: Rows, what: str
) -> npt.NDArray[np.float64]:
    """Return the mean over several classifiers of their probabilities (N, C): the judge's folds as one."""
    return mean_softmax(member_logits(map_rows, workers, rows_N, what))


def member_logits(
    map_rows: MapRows, workers: Sequence[LogitWorker], rows_N: Rows, what: str
) -> npt.NDArray[np.float64]:
    """Return the logits (K, N, C) of several classifiers."""
    return np.stack([predict_logits(map_rows, worker, rows_N, what) for worker in workers])


def mean_softmax(logits_KNC: npt.NDArray[np.float64], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Return the mean over K classifiers of their probabilities (N, C), each at the temperature."""
    return np.asarray(np.mean([softmax(logits_NC, temperature) for logits_NC in logits_KNC], axis=0))


def lesion_means(prob_NC: npt.NDArray[np.float64], group_N: Rows) -> npt.NDArray[np.float64]:
    """Return the mean probabilities (G, C) of each group's images, ``group_N`` numbering the groups from 0."""
    sums_CG = [np.bincount(group_N, weights=column) for column in prob_NC.T]
    return np.asarray(np.stack(sums_CG, axis=1) / np.bincount(group_N)[:, None])


def softmax(logits_NC: npt.NDArray[np.float64], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Return the probabilities of logits divided by the temperature, by row, in float64."""
    scaled_NC = logits_NC / temperature
    exponent_NC = np.exp(scaled_NC - scaled_NC.max(axis=1, keepdims=True))
    return np.asarray(exponent_NC / exponent_NC.sum(axis=1, keepdims=True))


def tempered(prob_NC: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Return probabilities as another temperature gives them: softmax(log p / temperature)."""
    return softmax(log_probabilities(prob_NC), temperature)


def log_probabilities(prob_NC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithms of probabilities, which are floored at 1e-12: logits up to a constant of each row."""
    return np.asarray(np.log(np.maximum(prob_NC, SMALLEST)))
