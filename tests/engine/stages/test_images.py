"""The folder of the images stage holds what ARCHITECTURE.md promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from engine.artifacts import duplicates, lesions
from engine.config import DataConfig, parse_config
from engine.data.decoding import ImageFileError
from engine.data.duplicates.same_lesion import LesionPairs
from engine.data.duplicates.search import Duplicates
from engine.data.readers.table import read
from engine.errors import DataError
from engine.stages import images
from engine.types import strings
from tests.engine.data import layouts
from tests.engine.data.duplicates.photographs import photograph, skin
from tests.fakes import run_stage


def run(out: Path, **data: object) -> dict:
    config = parse_config({"data": {"image_size": 16, **data}})
    run_stage(images, out, {}, images.Params.of(config, fingerprint="as it is"))
    return json.loads((out / "data.json").read_text())


def test_folder_of_a_ham10000_copy(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path / "data")
    (tmp_path / "data" / "images" / "ISIC_0031.jpg").write_text("broken")
    info = run(tmp_path / "out", format="ham10000", root=str(tmp_path / "data"), on_bad_image="skip")
    assert info["classes"] == ["mel", "nv"]
    assert (info["n_images"], info["n_lesions"], info["grouped_by"]) == (15, 8, "lesion")
    assert info["masks"] == {"file": 15, "otsu": 0, "none": 0}
    assert [s["image_id"] for s in info["skipped"]] == ["ISIC_0031"]
    assert info["image_size"] == 16
    table = lesions.read(tmp_path / "out")
    assert len(table) == 15
    assert np.load(tmp_path / "out" / "images.npy", mmap_mode="r").shape == (15, 16, 16, 3)
    assert np.load(tmp_path / "out" / "masks.npy", mmap_mode="r").shape == (15, 16, 16)
    pairs = pd.read_parquet(tmp_path / "out" / "duplicates.parquet")
    assert list(pairs.columns) == [
        "image_id_1", "image_id_2", "distance", "exact", "turn", "log_zoom", "angle", "shift_x", "shift_y",
    ]  # fmt: skip


def test_digest_is_the_datas_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        layouts.write_ham(tmp_path / name)
    first = run(tmp_path / "1", format="ham10000", root=str(tmp_path / "a"))
    assert run(tmp_path / "2", format="ham10000", root=str(tmp_path / "b"))["digest"] == first["digest"]
    layouts.save(tmp_path / "b" / "images" / "ISIC_0000.jpg", layouts.picture(77))
    assert run(tmp_path / "3", format="ham10000", root=str(tmp_path / "b"))["digest"] != first["digest"]


def test_a_class_lost_to_broken_files_is_an_error(tmp_path: Path) -> None:
    rows = layouts.ham_rows(3, views=1)
    layouts.write_ham(tmp_path / "data", rows=rows)
    (tmp_path / "data" / "images" / "ISIC_0010.jpg").write_text("broken")
    with pytest.raises(DataError, match="only class mel is left"):
        run(tmp_path / "out", format="ham10000", root=str(tmp_path / "data"), on_bad_image="skip")


def test_phantoms_need_no_files(tmp_path: Path) -> None:
    info = run(tmp_path / "out", phantom={"lesions": 14, "views": 1})
    assert info["n_images"] == 14
    assert len(info["classes"]) == 7


def test_a_turned_copy_under_another_lesion_id_is_written_with_its_turn(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path / "data")
    rng = np.random.default_rng(0)
    picture = ndimage.gaussian_filter(rng.uniform(0, 255, (64, 64, 3)), (1.5, 1.5, 0))
    picture = ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.uint8)
    layouts.save(tmp_path / "data" / "images" / "ISIC_0000.jpg", picture)
    layouts.save(tmp_path / "data" / "images" / "ISIC_0070.jpg", np.ascontiguousarray(np.rot90(picture)))
    run(tmp_path / "out", format="ham10000", root=str(tmp_path / "data"), image_size=64, mask="none")
    pairs = pd.read_parquet(tmp_path / "out" / "duplicates.parquet")
    (own,) = pairs[pairs["image_id_1"] == "ISIC_0000"].to_dict("records")
    assert (own["image_id_2"], own["turn"], own["exact"]) == ("ISIC_0070", "turned 270", False)
    assert own["distance"] < 0.2


def write_photographs(root: Path) -> None:
    """16 pictures of 200 x 150: ISIC_0070 is a second photograph of ISIC_0000."""
    layouts.write_ham(root)
    names = sorted(path.stem for path in (root / "images").glob("*.jpg"))
    for seed, name in enumerate(names):
        layouts.save(root / "images" / f"{name}.jpg", photograph(skin(seed)))
    second = photograph(skin(0), degrees=20, zoom=1.3, colour=(0.8, 0.78, 0.95), blur=0.8)
    layouts.save(root / "images" / "ISIC_0070.jpg", second)


def test_a_second_photograph_is_written_and_joined(tmp_path: Path) -> None:
    write_photographs(tmp_path / "data")
    run(
        tmp_path / "out",
        format="ham10000",
        root=str(tmp_path / "data"),
        image_size=64,
        mask="none",
        workers=1,
    )
    (own,) = pd.read_parquet(tmp_path / "out" / "duplicates.parquet").to_dict("records")
    assert (own["image_id_1"], own["image_id_2"]) == ("ISIC_0000", "ISIC_0070")
    assert (own["by"], own["sure"], own["exact"], own["turn"]) == ("keypoints", True, False, "as it is")
    assert own["distance"] == pytest.approx(8 / (8 + own["inliers"]), abs=1e-4)
    assert np.exp(own["log_zoom"]) == pytest.approx(1.3, abs=0.05)
    assert duplicates.read(tmp_path / "out").ids == [("ISIC_0000", "ISIC_0070")]


def test_pairs_of_both_finders_are_one_table() -> None:
    """Pixels find 0-1 and 1-2, keypoints 0-1, and 2-3 too weakly to be joined."""
    found = Duplicates(
        pairs_P2=np.array([[0, 1], [1, 2]]), distance_P=np.array([0.1, 0.0]), turn_P=np.array([4, 0]),
        placement_P4=np.zeros((2, 4)), exact_P=np.array([False, True]),
    )  # fmt: skip
    second = LesionPairs(
        pairs_P2=np.array([[0, 1], [2, 3]]), inliers_P=np.array([30, 8]), spread_P=np.array([9.0, 9.0]),
        placement_P4=np.full((2, 4), 0.5),
    )  # fmt: skip
    pairs = images.joined(found, second, strings(["a", "b", "c", "d"]))
    assert pairs.by_P is not None and pairs.inliers_P is not None and pairs.sure_P is not None
    assert list(zip(pairs.first_P, pairs.second_P, pairs.by_P, pairs.inliers_P, pairs.sure_P, strict=True)) == [
        ("a", "b", "pixels", 30, True), ("b", "c", "pixels", 0, True), ("c", "d", "keypoints", 8, False),
    ]  # fmt: skip
    assert pairs.distance_P.tolist() == [0.1, 0.0, 0.5]
    assert pairs.ids == [("a", "b"), ("b", "c")]
    none = images.joined(found, second.take(np.zeros(2, bool)), strings(["a", "b", "c", "d"]))
    assert len(none) == 2


def test_small_pictures_have_no_keypoints_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find_keypoints", lambda *_: pytest.fail("not for small pictures"))
    run(tmp_path / "out", image_size=64, phantom={"lesions": 14, "views": 1})
    assert "by" not in pd.read_parquet(tmp_path / "out" / "duplicates.parquet")


def test_the_search_for_second_photographs_can_be_left_out(tmp_path: Path) -> None:
    write_photographs(tmp_path / "data")
    run(
        tmp_path / "out",
        format="ham10000",
        root=str(tmp_path / "data"),
        image_size=64,
        mask="none",
        workers=1,
        find_second_photographs=False,
    )
    assert pd.read_parquet(tmp_path / "out" / "duplicates.parquet").empty


def test_only_its_own_value_changes_the_key() -> None:
    def data(**given: object) -> dict:
        config = parse_config({"data": given})
        return dict(images.Params.of(config, fingerprint="as it is").to_json()["data"])

    assert "find_second_photographs" not in data()
    assert data(find_second_photographs=True) == data()
    assert data(find_second_photographs=False) == data() | {"find_second_photographs": False}


def test_a_file_that_vanishes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photographs(tmp_path / "data")

    def vanished(*_: object) -> None:
        raise ImageFileError("No such file or directory")

    monkeypatch.setattr(images, "find_keypoints", vanished)
    with pytest.raises(DataError, match="cannot be decoded a second time"):
        run(tmp_path / "out", format="ham10000", root=str(tmp_path / "data"))


def test_native_side_is_the_pictures_own(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path)
    config = DataConfig.model_validate({"format": "ham10000", "root": str(tmp_path), "image_size": 64})
    assert images.native_side(read(config, 0)) == 30
    assert (
        images.native_side(read(DataConfig.model_validate({"image_size": 48, "phantom": {"lesions": 14}}), 0))
        == 48
    )


def test_what_lies_beside_the_images_is_counted(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path / "data")
    images = tmp_path / "data" / "images"
    (images / "._ISIC_0000.jpg").write_bytes(b"\0\5\x16\7")
    layouts.save(images / "ISIC_0000_superpixels.png", layouts.picture(1))
    frames = [Image.fromarray(layouts.picture(seed)) for seed in (1, 2)]
    (images / "ISIC_0010.jpg").unlink()
    frames[0].save(images / "ISIC_0010.tif", save_all=True, append_images=frames[1:])
    info = run(tmp_path / "out", format="ham10000", root=str(tmp_path / "data"))
    assert info["n_images"] == 16
    assert info["left_out"] == {
        "hidden": 1, "superpixels or other maps": 1, "with further frames (the first is read)": 1,
    }  # fmt: skip
