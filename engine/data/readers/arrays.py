"""Readers of data sets that come as arrays: MedMNIST .npz files, MNIST's idx files, CIFAR-10's binary batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.artifacts.plain_files import require_plain_file
from engine.config import DataConfig
from engine.data.readers.array_files import class_numbers, read_idx, read_npz
from engine.data.readers.files import one_file, require_folder
from engine.data.table import Source, make_table
from engine.errors import DataError
from engine.types import ImageArray

DERMAMNIST = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_RECORD = 1 + 3 * 32 * 32
PARTS = ("train", "val", "test")
MNIST_PARTS = {"train": "train", "t10k": "test"}

Part = tuple[str, ImageArray, npt.NDArray[np.int64]]
"""An official part: its name, images (n, h, w) or (n, h, w, 3), class numbers (n,)."""


def read_medmnist(config: DataConfig) -> Source:
    """Read a MedMNIST file (``{train,val,test}_{images,labels}``); classes are their numbers as text.

    DermaMNIST, recognised by its file name, has HAM10000's seven names. It was split by image, not by lesion, and
    carries no lesion ids: its groups are unknown.
    """
    path = Path(str(config.root)).expanduser().absolute()
    if not path.is_file():
        path = one_file(
            require_folder(str(config.root)), ["*.npz"], "MedMNIST file", "give data.root the file itself"
        )
    wanted = tuple(f"{part}_{kind}" for part in PARTS for kind in ("images", "labels"))
    arrays, names = read_npz(path, wanted)
    parts = [_medmnist_part(path, arrays, part) for part in PARTS if f"{part}_images" in arrays]
    if not parts:
        raise DataError(
            f"{path}: no train_images, val_images or test_images; the arrays are {', '.join(names) or 'none'}; "
            "give a MedMNIST file, or name the arrays so"
        )
    return _source(path, parts, DERMAMNIST if path.stem.lower().startswith("dermamnist") else None)


def read_torchvision(config: DataConfig) -> Source:
    """Read MNIST (idx files, gzipped or not) or CIFAR-10 (binary batches), from torchvision's folders too."""
    root = require_folder(str(config.root))
    return _read_mnist(root) if config.dataset == "mnist" else _read_cifar10(root)


def _medmnist_part(path: Path, arrays: dict[str, npt.NDArray[Any]], part: str) -> Part:
    images, labels = arrays[f"{part}_images"], arrays.get(f"{part}_labels")
    if labels is None:
        raise DataError(f"{path}: {part}_labels is missing beside {part}_images; download the file again")
    flat = images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:3]
    if flat or (images.ndim == 4 and images.shape[3] != 3):
        raise DataError(
            f"{path}: {part}_images is {images.dtype} of shape {images.shape}; expected 2-d uint8 images, grey or RGB"
        )
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(
            f"{path}: {part}_labels has {labels.shape[1]} labels an image; one class an image is needed"
        )
    if labels.ndim == 0 or labels.size != len(images):
        raise DataError(
            f"{path}: {part}_images has {len(images)} entries, {part}_labels {labels.size}; download the file again"
        )
    return part, images, class_numbers(path, f"{part}_labels", labels)


def _source(path: Path, parts: list[Part], names: tuple[str, ...] | None) -> Source:
    """Join official parts; image ids are ``<part>_<position in the part>``."""
    ids: list[str] = []
    dx: list[str] = []
    split: list[str] = []
    frames: list[ImageArray] = []
    for part, images, labels in parts:
        if names is not None and len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            raise DataError(f"{path}: {part} has label {labels.max()}; expected 0 to {len(names) - 1}")
        ids += [f"{part}_{i:06d}" for i in range(len(labels))]
        dx += [str(v) if names is None else names[v] for v in labels]
        split += [part] * len(labels)
        frames += list(images)
    table = make_table(str(path), ids, dx, split=split)
    return Source(table=table, where=str(path), labels=names or table.classes, frames=tuple(frames))


def _read_mnist(root: Path) -> Source:
    folder = next(
        (f for f in (root, root / "MNIST" / "raw", root / "raw") if _mnist_file(f, "train-images")), None
    )
    if folder is None:
        raise DataError(
            f"{root}: no train-images-idx3-ubyte(.gz) in it or in MNIST/raw; put MNIST's four idx files there"
        )
    parts: list[Part] = []
    for prefix, part in MNIST_PARTS.items():
        pictures, labels = _mnist_file(folder, f"{prefix}-images"), _mnist_file(folder, f"{prefix}-labels")
        if pictures is None or labels is None:
            raise DataError(
                f"{folder}: {prefix}-images or {prefix}-labels idx file is missing; MNIST has four files"
            )
        images_NHW, label_N = read_idx(pictures, 3), read_idx(labels, 1)
        if len(images_NHW) != len(label_N):
            raise DataError(
                f"{pictures}: {len(images_NHW)} images but {len(label_N)} labels in {labels.name}"
            )
        parts.append((part, images_NHW, label_N.astype(np.int64)))
    return _source(folder, parts, None)


def _mnist_file(folder: Path, start: str) -> Path | None:
    return next(
        (
            p
            for p in sorted(folder.glob(f"{start}[-.]idx*"))
            if p.suffix in ("", ".gz", ".idx3-ubyte", ".idx1-ubyte")
        ),
        None,
    )


def _read_cifar10(root: Path) -> Source:
    folder = next((f for f in (root, root / "cifar-10-batches-bin") if any(f.glob("data_batch_*.bin"))), None)
    if folder is None:
        pickled = next(
            (f for f in (root, root / "cifar-10-batches-py") if (f / "data_batch_1").exists()), None
        )
        found = f" ({pickled} is the Python version, which is pickled and never opened)" if pickled else ""
        raise DataError(
            f"{root}: no data_batch_*.bin in it or in cifar-10-batches-bin{found}; "
            "put CIFAR-10's binary version (cifar-10-binary.tar.gz, unpacked) there"
        )
    meta = folder / "batches.meta.txt"
    named = tuple(meta.read_text(encoding="utf-8", errors="replace").split()) if meta.is_file() else ()
    names = named if len(named) == len(CIFAR10) else CIFAR10
    parts = [("train", *_read_batches(sorted(folder.glob("data_batch_*.bin"))))]
    if (folder / "test_batch.bin").is_file():
        parts.append(("test", *_read_batches([folder / "test_batch.bin"])))
    return _source(folder, parts, names)


def _read_batches(paths: list[Path]) -> tuple[ImageArray, npt.NDArray[np.int64]]:
    """Read binary batches of any number of records: 1 label byte, then 1024 red, green and blue bytes."""
    records = []
    for path in paths:
        try:
            require_plain_file(path)
            data = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); download it again") from None
        if not len(data) or len(data) % CIFAR_RECORD:
            raise DataError(
                f"{path}: {len(data)} bytes is not a whole number of {CIFAR_RECORD}-byte records; download it again"
            )
        records.append(data.reshape(-1, CIFAR_RECORD))
    record_NB = np.concatenate(records)
    images_NHWC = record_NB[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images_NHWC, record_NB[:, 0].astype(np.int64)
