"""Reads any supported layout into one Source: ``data.format`` picks the reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from engine.config import DataConfig
from engine.data.phantom.lesions import generate
from engine.data.readers.arrays import read_medmnist, read_torchvision
from engine.data.readers.dermoscopy import read_ham10000, read_isic
from engine.data.readers.general import read_folder, read_table_format
from engine.data.readers.pixels import read_pixels
from engine.data.readers.unlabelled import with_folder
from engine.data.table import Source, prepare

READERS: Final[Mapping[str, Callable[[DataConfig], Source]]] = {
    "ham10000": read_ham10000,
    "isic": read_isic,
    "medmnist": read_medmnist,
    "folder": read_folder,
    "table": read_table_format,
    "pixels": read_pixels,
    "torchvision": read_torchvision,
}
"""A reader turns a config into a Source; to add one, write it, name it here and in ``DataConfig.format``."""


def read(config: DataConfig, seed: int) -> Source:
    """Read the data set a config names, ready to decode: sorted by image_id, labels mapped, limited.

    Raises:
        DataError: anything in the data is missing, broken or inconsistent; names the file and the remedy.
    """
    source = read_phantom(config, seed) if config.format == "phantom" else READERS[config.format](config)
    if config.unlabelled_images is not None:
        source = with_folder(source, config.unlabelled_images)
    return prepare(source, config, seed)


def read_phantom(config: DataConfig, seed: int) -> Source:
    """Draw the procedural data set with its exact masks."""
    table, images_NHWC, masks_NHW = generate(config.phantom, config.image_size, seed)
    return Source(
        table=table,
        where="data.phantom",
        labels=table.classes,
        frames=tuple(images_NHWC),
        masks=tuple(masks_NHW),
    )
