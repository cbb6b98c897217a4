"""Images into the classifier, first and later epochs, against torchvision's ImageFolder and DataLoader."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import datasets, transforms

from engine.artifacts import decoded_images
from engine.classifier.inputs import IMAGENET_MEAN, IMAGENET_STD, ImageRows, normalise, to_unit
from engine.config import DataConfig
from engine.data.images import fill_cache
from engine.data.readers.table import read
from experiments.benchmarks.timing import OURS, compared, in_turns, seconds

IMAGES, SIDE, BATCH = 1024, 64, 64
PHOTOGRAPH = (200, 150)


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return the rows of the first epoch and of later ones, and what gathering takes beside indexing memory."""
    with tempfile.TemporaryDirectory() as scratch:
        return of_folder(Path(scratch), turns, 4 if full else 1)


def of_folder(scratch: Path, turns: int, epochs: int) -> dict[str, Any]:
    """Measure on JPEGs of PHOTOGRAPH pixels, and on their squares in one memory-mapped file."""
    rng = np.random.default_rng(0)
    squares = rng.integers(256, size=(IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    decoded_images.IMAGES.write(squares, scratch)
    for name in ("one", "two"):
        (scratch / "jpeg" / name).mkdir(parents=True)
    for number in range(IMAGES):
        coarse = Image.fromarray(rng.integers(256, size=(15, 20, 3), dtype=np.uint8))
        coarse.resize(PHOTOGRAPH, Image.Resampling.BICUBIC).save(
            scratch / "jpeg" / ("one", "two")[number % 2] / f"{number}.jpg"
        )
    photographs = DataConfig(format="folder", root=str(scratch / "jpeg"), image_size=SIDE, workers=1)
    source = read(photographs, 0)
    cut = [transforms.Resize(SIDE), transforms.CenterCrop(SIDE), transforms.ToTensor()]
    cut.append(transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD))
    folder = datasets.ImageFolder(str(scratch / "jpeg"), transforms.Compose(cut))
    loader = torch.utils.data.DataLoader(folder, batch_size=BATCH, shuffle=True)
    rows = ImageRows.of(decoded_images.IMAGES.path(scratch), np.arange(IMAGES)).open()
    orders = [rng.permutation(IMAGES).reshape(-1, BATCH) for _ in range(epochs)]

    def epoch() -> None:
        for order in orders:
            for batch in order:
                normalise(to_unit(rows.take(batch), "cpu"), IMAGENET_MEAN, IMAGENET_STD)

    def first_epoch() -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as out:
            fill_cache(source, photographs, Path(out), lambda *_: None)
            decoded = ImageRows.of(decoded_images.IMAGES.path(Path(out)), np.arange(IMAGES)).open()
            for batch in orders[0]:
                normalise(to_unit(decoded.take(batch), "cpu"), IMAGENET_MEAN, IMAGENET_STD)

    def loaded() -> None:
        for images, _ in loader:
            images.contiguous(memory_format=torch.channels_last)

    first = {OURS: lambda: seconds(first_epoch, IMAGES), "ImageFolder": lambda: seconds(loaded, IMAGES)}
    later = {OURS: lambda: seconds(epoch, epochs * IMAGES), "ImageFolder": lambda: seconds(loaded, IMAGES)}
    gather = {
        OURS: lambda: seconds(lambda: [rows.take(batch) for batch in orders[0]], IMAGES),
        "numpy in memory": lambda: seconds(lambda: [squares[batch] for batch in orders[0]], IMAGES),
    }
    settings = (
        "ImageFolder, Resize, CenterCrop, ToTensor, Normalize; DataLoader in this process, as its workers' seconds would "
        "not be counted"
    )
    return {
        "images into the classifier, first epoch": compared(
            in_turns(first, turns), 1.5, unit="images",
            alternative=f"{settings}; ours also outlines every lesion (Otsu) and writes both to disk",
        ),
        "images into the classifier, later epochs": compared(
            in_turns(later, turns), 20.0, unit="images", alternative=settings
        ),
        "gathering a batch of 64": compared(
            in_turns(gather, turns), unit="images", alternative="fancy indexing of an array in memory"
        ),
    }  # fmt: skip
