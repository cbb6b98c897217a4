"""uint8 to normalised float, and images gathered from several files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engine.classifier.inputs import ImageRows, memory_format, normalise, to_unit


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


def test_a_file_without_rows_is_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((1, 1, 1, 3), dtype=np.uint8))
    rows = ImageRows(
        files=(tmp_path / "a.npy", Path("absent.npy")), source_N=np.zeros(1, int), row_N=np.zeros(1, int)
    )
    assert rows.open().take(np.array([0])).sum() == 3


def test_mps_has_no_channels_last():
    assert memory_format("mps") == torch.contiguous_format
    assert memory_format("cuda:0") == torch.channels_last
