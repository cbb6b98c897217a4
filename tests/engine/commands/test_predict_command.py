"""The rows of predict's CSV; reading and the network are tried on a finished run in tests/integration."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.artifacts.calibration import Calibration
from engine.commands.predict_command import find_images, read_images, table
from engine.errors import DataError


def calibration(malignant=("mel",), threshold=0.4):
    return Calibration(
        temperature=1.0,
        malignant=malignant,
        threshold=threshold,
        specificity=0.9,
        classes=("bkl", "mel", "nv"),
    )


PROB = np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2], [0.3, 0.4, 0.3]])
FILES = [Path("a/x.png"), Path("a/y.png"), Path("b/z.jpg")]


def test_rows_hold_probabilities_prediction_and_operating_point():
    frame = table(FILES, PROB, calibration())
    assert frame["image_id"].tolist() == ["x", "y", "z"]
    assert frame["p_mel"].tolist() == [0.5, 0.1, 0.4]
    assert frame["predicted"].tolist() == ["mel", "bkl", "mel"]
    assert frame["malignant_score"].tolist() == [0.5, 0.1, 0.4]
    assert frame["above_threshold"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("given", "score"),
    [(calibration(malignant=(), threshold=None), None), (calibration(threshold=None), 0.5)],
)
def test_what_is_unknown_is_empty(given, score):
    frame = table(FILES, PROB, given)
    assert frame["malignant_score"][0] == score
    assert frame["above_threshold"].isna().all()
    assert frame.to_csv(index=False).splitlines()[1].endswith(",")


def test_names_that_do_not_tell_files_apart_become_paths():
    frame = table([Path("a/x.png"), Path("b/x.png")], PROB[:2], calibration())
    assert frame["image_id"].tolist() == ["a/x", "b/x"]


def test_folders_and_files_are_found_once_in_order(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.tif", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([tmp_path / "sub" / "c.tif", tmp_path])
    assert [p.name for p in found] == ["c.tif", "a.JPG", "b.png"]


def test_an_empty_folder_and_an_absent_file_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        find_images([tmp_path])
    with pytest.raises(DataError, match=r"absent.png: does not exist"):
        find_images([tmp_path / "absent.png"])


def test_good_and_bad_files_are_told_apart(tmp_path):
    Image.new("RGB", (30, 20), (10, 20, 30)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG broken")
    good, bad, pixels = read_images([tmp_path / "bad.png", tmp_path / "good.png"], 16, "crop")
    assert [p.name for p in good] == ["good.png"]
    assert bad[0].startswith(f"{tmp_path / 'bad.png'}: ")
    assert pixels.shape == (1, 16, 16, 3)
    assert pixels[0, 0, 0].tolist() == [10, 20, 30]
    assert read_images([], 16, "crop")[2].shape == (0, 16, 16, 3)
