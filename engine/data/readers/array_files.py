"""Opens .npz and idx files whose headers may lie: what they hold is compared with what they promise before it is read."""

from __future__ import annotations

import contextlib
import gzip
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psutil

from engine.artifacts.plain_files import require_plain_file
from engine.artifacts.promises import array_header
from engine.errors import DataError
from engine.types import ImageArray

NPY: Final = b"\x93NUMPY"
IDX_UINT8: Final = 8
"""The type byte of an idx file of unsigned bytes."""


def read_npz(path: Path, wanted: tuple[str, ...]) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...]]:
    """Return those of the ``wanted`` arrays that a .npz file holds, and the names of all its arrays.

    Raises:
        DataError: it is no .npz file, is damaged, holds Python objects, or an array does not have the bytes it promises.
    """
    with _damage(path, "as a MedMNIST .npz"):
        require_plain_file(path)
        with path.open("rb") as start:
            if start.read(len(NPY)) == NPY:
                raise DataError(
                    f"{path}: holds one array (.npy) under the name of a .npz file; expected a .npz with "
                    "train_images, train_labels and so on (numpy.savez)"
                )
        with zipfile.ZipFile(path) as archive:
            names = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            if len(names) < len(archive.infolist()):
                raise DataError(
                    f"{path}: holds two arrays of one name, of which only one could be checked; save it again (numpy.savez)"
                )
            here = [name for name in wanted if name in names]
            for name in here:
                _check_entry(path, archive, names[name], name)
            _check_memory(path, sum(names[name].file_size for name in here))
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in here}, tuple(names)


def read_idx(path: Path, axes: int) -> ImageArray:
    """Read an idx file: two zero bytes, type 8 (uint8), number of axes, big-endian sizes, data.

    Raises:
        DataError: it is none with so many axes, is damaged, or has not the bytes it promises.
    """
    with _damage(path, "or decompressed as an idx file"):
        require_plain_file(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            start = handle.read(4 + 4 * axes)
            if start[:4] != bytes([0, 0, IDX_UINT8, axes]) or len(start) < 4 + 4 * axes:
                raise DataError(f"{path}: is not an idx file of bytes with {axes} axes; download it again")
            sizes = [int(v) for v in np.frombuffer(start, dtype=">u4", count=axes, offset=4)]
            promised = math.prod(sizes)
            _check_memory(path, promised)
            data = handle.read(promised + 1)
        if len(data) != promised:
            found = "more" if len(data) > promised else f"{len(data):,}"
            raise DataError(
                f"{path}: header promises {promised:,} bytes, the file has {found}; download it again"
            )
        return np.frombuffer(data, dtype=np.uint8).reshape(sizes)


def class_numbers(path: Path, name: str, labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return labels (n,) as class numbers.

    Raises:
        DataError: they are text, objects, fractions, or unknown (NaN); says which, and where the first lies.
    """
    if labels.dtype.kind in "ui":
        numbers = labels.reshape(-1)
        if len(numbers) and (int(numbers.max()) >= 2**31 or int(numbers.min()) < 0):
            raise DataError(
                f"{path}: {name} holds {int(numbers.min())} to {int(numbers.max())}; expected class numbers from 0"
            )
        return numbers.astype(np.int64)
    if labels.dtype.kind != "f":
        kind = "text" if labels.dtype.kind in "US" else f"{labels.dtype}"
        raise DataError(
            f"{path}: {name} holds {kind}; expected whole class numbers from 0. Write them as integers, or save the images "
            "as files and read them with data.format=table"
        )
    flat = labels.reshape(-1)
    wrong = np.flatnonzero(~np.isfinite(flat) | (flat != np.round(flat)) | (flat < 0) | (flat >= 2**31))
    if len(wrong):
        raise DataError(
            f"{path}: {name} holds {flat[wrong[0]]} at position {wrong[0]} ({len(wrong)} such labels); expected whole class "
            "numbers from 0. Remove these images or label them"
        )
    return flat.astype(np.int64)


@contextlib.contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    """Turn whatever numpy, zipfile, gzip and zlib raise about a file into one line."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # numpy's header parser alone raises those of tokenize and ast
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"{path}: cannot be read {what} ({said}); download it again") from None


def _check_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> None:
    """Compare an array's header with the bytes that follow it."""
    with archive.open(entry) as handle:
        promised, dtype = array_header(handle)
        there = entry.file_size - handle.tell()
        if dtype.hasobject:
            raise DataError(
                f"{path}: {name} holds Python objects, which could run code and are never opened; save it as numbers "
                "(array.astype('int64'))"
            )
    if promised != there:
        raise DataError(
            f"{path}: {name} promises {promised:,} bytes, the file has {there:,}; download it again"
        )


def _check_memory(path: Path, needed: int) -> None:
    free = int(psutil.virtual_memory().available)
    if needed > free:
        raise DataError(
            f"{path}: unpacks to {needed / 1e9:,.1f} GB, more than the {free / 1e9:,.1f} GB of free memory; work on a "
            "machine with more, or save the images as files (data.format=folder or table)"
        )
