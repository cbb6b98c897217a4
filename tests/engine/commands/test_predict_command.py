"""The rows of predict's CSV; reading and the network are tried on a finished run in tests/integration."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engine.artifacts.calibration import Calibration
from engine.commands.classified_rows import write_rows
from engine.commands.predict_command import find_images, read_images, table
from engine.data.readers.image_names import IMAGE_SUFFIXES, UNREAD
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


def test_what_is_unknown_in_every_row_has_a_type_in_parquet(tmp_path):
    frame = table(FILES, PROB, calibration(malignant=(), threshold=None))
    write_rows(frame, None, tmp_path / "p.parquet")
    kinds = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "p.parquet")}
    assert (kinds["malignant_score"], kinds["above_threshold"]) == ("double", "bool")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "p.parquet").drop(columns=["malignant_score", "above_threshold"]),
        frame.drop(columns=["malignant_score", "above_threshold"]),
    )


def test_names_that_do_not_tell_files_apart_become_paths():
    frame = table([Path("a/x.png"), Path("b/x.png")], PROB[:2], calibration())
    assert frame["image_id"].tolist() == ["a/x", "b/x"]


def test_folders_and_files_are_found_once_in_order(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.tif", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, left_out = find_images([tmp_path / "sub" / "c.tif", tmp_path])
    assert not any(left_out.values())
    assert [p.name for p in found] == ["c.tif", "a.JPG", "b.png"]


def test_an_empty_folder_and_an_absent_file_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        find_images([tmp_path])
    with pytest.raises(DataError, match=r"absent.png: does not exist"):
        find_images([tmp_path / "absent.png"])


def test_good_and_bad_files_are_told_apart(tmp_path):
    Image.new("RGB", (30, 20), (10, 20, 30)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG broken")
    good, bad, pixels, several = read_images([tmp_path / "bad.png", tmp_path / "good.png"], 16, "crop")
    assert [p.name for p in good] == ["good.png"]
    assert bad[0].startswith(f"{tmp_path / 'bad.png'}: ")
    assert pixels.shape == (1, 16, 16, 3)
    assert several == 0
    assert pixels[0, 0, 0].tolist() == [10, 20, 30]
    assert read_images([], 16, "crop")[2].shape == (0, 16, 16, 3)


def case(folder):
    """Draw the folder of the case: two photographs, and what lies beside photographs."""
    for name in ("p0.jpg", "p1.jpg"):
        Image.new("RGB", (48, 48), (200, 150, 140)).save(folder / name)
    (folder / "._p0.jpg").write_bytes(b"\0\5\x16\7\0\2\0\0")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._p1.jpg").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
    Image.new("L", (48, 48), 255).save(folder / "p0_segmentation.png")
    Image.new("L", (48, 48), 255).save(folder / "p1_Segmentation.png")
    Image.new("L", (48, 48), 255).save(folder / "p1_superpixels.png")
    Image.fromarray(np.full((48, 48), 0.5, np.float32)).save(folder / "f32.tif")
    os.mkfifo(folder / "pipe.png")
    (folder / "album.jpg").mkdir()
    (folder / "phone.HEIC").touch()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("as_shell_names_them", [False, True])
def test_what_lies_beside_photographs_is_counted_and_not_classified(tmp_path, as_shell_names_them):
    case(tmp_path)
    given = [p for p in tmp_path.iterdir() if p.is_file()] if as_shell_names_them else [tmp_path]
    files, left_out = find_images([p for p in given if p.is_dir() or p.suffix in IMAGE_SUFFIXES])
    assert sorted(p.name for p in files) == ["f32.tif", "p0.jpg", "p1.jpg"]
    shell = {"hidden": 1, "masks": 2, "superpixels or other maps": 1}
    assert +left_out == (
        shell if as_shell_names_them else {**shell, "hidden": 2, "pipes, sockets or devices": 1, UNREAD: 1}
    )
    good, bad, pixels, _ = read_images(files, 16, "crop")
    assert (len(good), bad) == (3, [])
    assert (pixels[[p.name for p in good].index("f32.tif")] == 128).all()


def test_only_masks_given_is_an_error_that_counts_them(tmp_path):
    case(tmp_path)
    with pytest.raises(DataError, match=r"none of the files given is an image, but 1 mask"):
        find_images([tmp_path / "p0_segmentation.png"])
    with pytest.raises(DataError, match=r"pipe\.png: is no plain file \(a pipe, socket or device\)"):
        find_images([tmp_path / "pipe.png"])
    (tmp_path / "masks_only").mkdir()
    (tmp_path / "p0_segmentation.png").rename(tmp_path / "masks_only" / "p0_segmentation.png")
    with pytest.raises(DataError, match=r"holds no image .*, but 1 mask"):
        find_images([tmp_path / "masks_only"])


def test_a_link_to_nothing_is_named_not_lost(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "c.png")
    files, _ = find_images([tmp_path])
    good, bad, _, _ = read_images(files, 16, "crop")
    assert [p.name for p in good] == ["a.png"]
    assert [line.partition(": ")[2] for line in bad] == [
        "No such file or directory", "Too many levels of symbolic links",
    ]  # fmt: skip
