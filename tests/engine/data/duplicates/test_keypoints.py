"""Keypoints come from the upright picture at one scale, whatever light it was taken in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.decoding import ImageFileError
from engine.data.duplicates.keypoints import MOST, SIDE, dark_rim, even_lightness, find_keypoints
from tests.engine.data.duplicates.photographs import in_dark_rim, photograph, skin
from tests.fakes import no_progress


def test_light_and_colour_hardly_matter() -> None:
    white, red = (photograph(skin(0), colour=c) for c in ((1.0, 0.9, 0.9), (0.7, 0.4, 0.35)))
    apart = np.abs(even_lightness(white).astype(float) - even_lightness(red))
    assert np.abs(white.astype(float) - red).mean() > 60 and apart.mean() < 12


@pytest.mark.parametrize(
    ("size", "expected"), [((800, 600), (150, 200)), ((100, 100), (150, 150)), ((4000, 100), (15, 600))]
)
def test_one_scale(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.asarray(Image.fromarray(photograph(skin(1))).resize(size))
    assert even_lightness(image).shape == expected
    assert SIDE == 150


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    upright = Image.fromarray(photograph(skin(2)))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(even_lightness(tmp_path / "a.png"), even_lightness(np.asarray(upright)))


def test_a_dark_rim_has_no_keypoints_and_a_dark_lesion_has() -> None:
    round_view = in_dark_rim(photograph(skin(3)))
    found = find_keypoints([round_view, np.full((150, 200, 3), 128, np.uint8)], 1, no_progress)
    assert 0 < found.count_N[0] <= MOST and found.count_N[1] == 0
    from_middle = np.hypot(*(found.frame_NK4[0, : found.count_N[0], :2] - [100, 75]).T)
    assert from_middle.max() < 84
    spot = np.full((60, 60), 200, np.uint8)
    spot[20:40, 20:40] = 5
    assert not dark_rim(spot).any()
    spot[:4] = 5
    assert dark_rim(spot)[0].all() and not dark_rim(spot)[30].any()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError):
        find_keypoints([str(tmp_path / "absent.jpg")], 2, no_progress)
