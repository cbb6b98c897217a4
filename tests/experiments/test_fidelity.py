"""What the fidelity experiment computes of its own: nearest train image, small pixels."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.fidelity import distance, near_train
from experiments.lib.bench import small_pixels


def test_distances_by_hand() -> None:
    assert near_train(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 3.0]])).tolist() == [1.0]
    turned = distance(np.array([[2.0, 0.0]]), np.array([[0.0, 5.0]]))
    assert turned.tolist() == pytest.approx([np.sqrt(2)]), "length does not count, direction does"


def test_small_pixels_know_shape_and_hue_but_not_brightness() -> None:
    image = np.random.default_rng(0).integers(0, 100, (1, 64, 64, 3), dtype=np.uint8)
    brighter = image + np.uint8(50)
    assert small_pixels(image).shape == (1, 768)
    assert np.abs(small_pixels(image) - small_pixels(brighter)).max() < 1e-3
    assert small_pixels(image)[0].std() > 1
