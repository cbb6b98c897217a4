"""Writes tiny data sets in every layout the readers know; used by the tests of data and stages."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

CLASSES = ("mel", "nv")


def picture(seed: int, width: int = 40, height: int = 30) -> np.ndarray:
    """Pinkish noise with a dark disc in the middle, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(width, height) / 4) ** 2
    image = np.where(disc[..., None], (90, 50, 40), (220, 170, 160)) + rng.integers(
        -15, 15, (height, width, 3)
    )
    return np.clip(image, 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def ham_rows(lesions: int = 8, views: int = 2) -> pd.DataFrame:
    """`lesions` lesions of two classes with `views` images each, in HAM10000's columns."""
    rows = [
        {
            "lesion_id": f"HAM_{lesion:03d}",
            "image_id": f"ISIC_{lesion:03d}{view}",
            "dx": CLASSES[lesion % 2],
            "dx_type": "histo",
            "age": "55.0" if lesion else "",
            "sex": "female",
            "localization": "back",
        }
        for lesion in range(lesions)
        for view in range(views)
    ]
    return pd.DataFrame(rows)


def write_ham(
    root: Path, folder: str = "images", masks: bool = True, rows: pd.DataFrame | None = None
) -> pd.DataFrame:
    frame = ham_rows() if rows is None else rows
    for seed, name in enumerate(frame["image_id"]):
        save(root / folder / f"{name}.jpg", picture(seed))
        if masks:
            mask = np.zeros((30, 40), np.uint8)
            mask[10:20, 15:25] = 255
            save(root / "masks" / f"{name}_segmentation.png", mask)
    frame.to_csv(root / "HAM10000_metadata.csv", index=False)
    return frame


def write_isic(root: Path, labels: list[str], extra: tuple[str, ...] = ("AK", "SCC", "UNK")) -> None:
    columns = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC", *extra]
    names = [f"ISIC_{i:07d}" for i in range(len(labels))]
    rows = [
        {"image": n} | {c: float(c == label) for c in columns} for n, label in zip(names, labels, strict=True)
    ]
    for seed, name in enumerate(names):
        save(root / "Input" / f"{name}.jpg", picture(seed))
    pd.DataFrame(rows).to_csv(root / "ISIC_Training_GroundTruth.csv", index=False)


def write_folders(root: Path, parts: tuple[str, ...] = ("",), count: int = 4) -> None:
    for part in parts:
        for k, dx in enumerate(CLASSES):
            for i in range(count):
                save(root / part / dx / f"{dx}{part}{i}.png", picture(100 * k + i))


def write_table(root: Path, count: int = 8, **columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"file": [f"pics/p{i}.png" for i in range(count)], "label": [CLASSES[i % 2] for i in range(count)]}
    )
    frame = frame.assign(**columns)
    for i in range(count):
        save(root / "pics" / f"p{i}.png", picture(i))
    frame.to_csv(root / "list.csv", index=False)
    return frame


def write_medmnist(path: Path, classes: int = 3, rgb: bool = True) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 6 * classes), ("val", classes), ("test", classes)):
        shape = (count, 28, 28, 3) if rgb else (count, 28, 28)
        arrays[f"{part}_images"] = rng.integers(0, 256, shape).astype(np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def write_mnist(root: Path, packed: bool = True) -> None:
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for prefix, count in (("train", 10), ("t10k", 4)):
        images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 2).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
            data = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
            name = f"{prefix}-{kind}-ubyte" + (".gz" if packed else "")
            (root / name).write_bytes(gzip.compress(data) if packed else data)


def write_cifar(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, labels in (("data_batch_1", [0, 1, 0]), ("data_batch_2", [1, 9]), ("test_batch", [0, 1])):
        records = []
        for label in labels:
            planes = np.zeros((3, 32, 32), np.uint8)
            planes[0], planes[1], planes[2] = 10 + label, 20, 30
            records.append(np.concatenate([[np.uint8(label)], planes.ravel()]))
        np.concatenate(records).astype(np.uint8).tofile(root / f"{name}.bin")


def png_of(width: int, height: int) -> bytes:
    """Return a PNG whose header declares a size and that holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )
