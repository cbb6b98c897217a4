"""uint8 to normalised float, and images gathered from several files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engine.classifier.inputs import ImageRows, normalise, to_unit
from engine.training.layout import memory_format


def test_uint8_to_normalised():
    image = np.zeros((1, 1, 2, 3), dtype=np.uint8)
    image[0, 0, 1] = (255, 51, 0)
    unit = to_unit(image, "cpu")
    assert torch.allclose(unit[0, :, 0, 1], torch.tensor([1.0, 0.2, 0.0]))
    assert torch.allclose(
        normalise(unit, (0.5, 0.1, 0.0), (0.5, 0.1, 1.0))[0, :, 0, 1], torch.tensor([1.0, 1.0, 0.0])
    )


def test_rows_of_several_files(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(3, 3))
    np.save(tmp_path / "b.npy", np.arange(10, 12, dtype=np.uint8).reshape(2, 1, 1, 1).repeat(3, 3))
    rows = ImageRows(
        files=(tmp_path / "a.npy", tmp_path / "b.npy"),
        source_N=np.array([0, 1, 0]),
        row_N=np.array([3, 1, 0]),
    )
    assert len(rows) == 3
    assert rows.open().take(np.array([1, 0, 2, 1]))[:, 0, 0, 0].tolist() == [11, 3, 0, 11]


def test_a_batch_is_what_single_rows_are(tmp_path):
    """From one file and from several; the rows are the caller's own."""
    rng = np.random.default_rng(0)
    files = tuple(tmp_path / f"{name}.npy" for name in "abc")
    kept = [rng.integers(256, size=(9, 4, 5, 3), dtype=np.uint8) for _ in files]
    for file, images in zip(files, kept, strict=True):
        np.save(file, images)
    for sources in (rng.integers(0, 3, size=40), np.ones(40, dtype=np.int64)):
        rows = ImageRows(files=files, source_N=sources, row_N=rng.integers(0, 9, size=40))
        positions = rng.integers(0, 40, size=64)
        taken = rows.open().take(positions)
        one_by_one = [kept[rows.source_N[at]][rows.row_N[at]] for at in positions]
        np.testing.assert_array_equal(taken, np.stack(one_by_one))
        assert taken.flags.c_contiguous and taken.flags.writeable and type(taken) is np.ndarray


def test_a_file_without_rows_is_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((1, 1, 1, 3), dtype=np.uint8))
    rows = ImageRows(
        files=(tmp_path / "a.npy", Path("absent.npy")), source_N=np.zeros(1, int), row_N=np.zeros(1, int)
    )
    assert rows.open().take(np.array([0])).sum() == 3


def test_mps_has_no_channels_last():
    assert memory_format("mps") == torch.contiguous_format
    assert memory_format("cuda:0") == torch.channels_last
