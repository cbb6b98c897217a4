"""Tables of public data sets at their edges: one-hot rows, pixels as cells, a row per lesion, images in another folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from engine.config import DataConfig
from engine.data.fingerprint import fingerprint
from engine.data.readers.pixels import pixel_shape
from engine.data.readers.table import read
from engine.errors import DataError
from engine.store.cache import stage_key
from tests.engine.data.public_layouts import LAYOUTS, draw


def config(root: Path, kind: str, **more: Any) -> DataConfig:
    return DataConfig.model_validate({"format": kind, "root": str(root), "image_size": 16, **more})


def _one_hot(root: Path, text: str) -> DataConfig:
    for name in "abc":
        draw(root / f"{name}.png", ord(name))
    (root / "t.csv").write_text(text)
    return config(root, "table", columns={"image": "f", "label": ["mel", "nv"]}, map_labels={"unknown": None})


def test_one_hot_columns_of_any_table_name_the_class_and_zeros_are_unlabelled(tmp_path: Path) -> None:
    source = read(_one_hot(tmp_path, "f,mel,nv\na,1,0\nb,False,True\nc,0,0\n"), 0)
    assert source.table.dx.tolist() == ["mel", "nv"]
    assert source.skipped == (("c", "no diagnosis"),)


def test_two_ones_or_another_number_are_refused(tmp_path: Path) -> None:
    for row in ("c,1,1", "c,2,0", "c,,1"):
        with pytest.raises(DataError, match=r"image c is not marked by one 1 among the columns mel, nv"):
            read(_one_hot(tmp_path, f"f,mel,nv\na,1,0\nb,0,1\n{row}\n"), 0)
    with pytest.raises(DataError, match=r"column nv is missing.*Correct data\.columns\.label"):
        read(_one_hot(tmp_path, "f,mel\na,1\n"), 0)


def test_isic_2017_calls_what_is_neither_a_nevus(tmp_path: Path) -> None:
    LAYOUTS["isic_2017"](tmp_path)
    table = read(config(tmp_path, "isic"), 0).table
    assert table.dx[:3].tolist() == ["melanoma", "seborrheic_keratosis", "nevus"]
    assert table.age[0] == 55.0 and np.isnan(table.age[1:]).all()
    assert set(table.sex) == {"female"}


def test_isic_2016_s_test_table_says_0_and_1(tmp_path: Path) -> None:
    LAYOUTS["isic_2016"](tmp_path)
    path = next(tmp_path.glob("*.csv"))
    path.write_text(path.read_text().replace("benign", "0.0").replace("malignant", "1.0"))
    assert read(config(tmp_path, "isic"), 0).table.dx[:2].tolist() == ["benign", "malignant"]


def test_milk10k_has_a_row_per_image_and_keeps_lesions_together(tmp_path: Path) -> None:
    LAYOUTS["milk10k"](tmp_path)
    mapped = {"SCCKA": "scc"}
    source = read(config(tmp_path, "isic", map_labels=mapped), 0)
    assert source.grouped_by == "lesion"
    assert source.table.lesion_id[:2].tolist() == ["IL_0000000", "IL_0000000"]
    assert source.table.dx[:6].tolist() == ["mel", "mel", "nv", "nv", "scc", "scc"]
    about = tmp_path / "MILK10k_Training_Metadata.csv"
    frame = pd.read_csv(about)
    frame[frame["lesion_id"] != "IL_0000001"].to_csv(about, index=False)
    with pytest.raises(DataError, match=r"lesion IL_0000001 has no image in MILK10k.*\(1 such lesions\)"):
        read(config(tmp_path, "isic", map_labels=mapped), 0)
    about.unlink()
    with pytest.raises(DataError, match=r"has a row per lesion, and no table beside it names the images"):
        read(config(tmp_path, "isic", map_labels=mapped), 0)


@pytest.mark.slow
def test_pixels_are_read_row_by_row_in_colour(tmp_path: Path) -> None:
    LAYOUTS["hmnist"](tmp_path)
    path = tmp_path / "hmnist_28_28_RGB.csv"
    source = read(config(path, "pixels"), 0)
    raw = pd.read_csv(path)
    assert source.table.dx[:2].tolist() == ["nv", "mel"]
    assert source.frames is not None
    assert source.frames[0].shape == (28, 28, 3)
    assert source.frames[0][0, 1].tolist() == raw.loc[0, ["pixel0003", "pixel0004", "pixel0005"]].tolist()
    other = path.rename(tmp_path / "mine.csv")
    assert read(config(other, "pixels"), 0).table.classes == ("4", "6")


@pytest.mark.parametrize(
    ("count", "shape"), [(784, (28, 28)), (2352, (28, 28, 3)), (192, (8, 8, 3)), (5, None)]
)
def test_the_number_of_columns_gives_the_shape(count: int, shape: tuple[int, ...] | None) -> None:
    assert pixel_shape([*(f"pixel{k:04d}" for k in range(count)), "label"]) == shape
    assert pixel_shape([f"pixel{k:04d}" for k in range(count)]) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pixel0000,pixel0001,label\n1,2,0\n", "has 1 rows and 2 columns beside label; expected"),
        ("pixel0000,label\n", "has 0 rows"),
        ("pixel0000,label\n1,0\n256,1\n", "row 2 holds a value that is no pixel"),
        ("pixel0000,label\nx,0\n", "row 1 holds a value that is no pixel"),
        ("pixel0000,label\n1,7\n", "label '7' is none of HAM10000's seven"),
        ('"', "cannot be read as a table"),
    ],
)
def test_tables_of_pixels_that_lie_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "hmnist_1_1_L.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read(config(path, "pixels"), 0)


def _apart(root: Path) -> DataConfig:
    for number in range(4):
        draw(root / "images" / "deep" / f"a{number}.jpg", number)
    (root / "list.csv").write_text("f,l\na0,mel\na1,nv\na2,mel\na3,nv\n")
    return config(
        root / "list.csv", "table", images=str(root / "images"), columns={"image": "f", "label": "l"}
    )


def test_images_apart_are_read_and_their_contents_make_the_fingerprint(tmp_path: Path) -> None:
    given = _apart(tmp_path)
    assert (read(given, 0).table.path != "").all()
    before = fingerprint(given, tmp_path / "notes")
    assert fingerprint(given, tmp_path / "notes") == before
    draw(tmp_path / "images" / "deep" / "a0.jpg", 99)
    changed = fingerprint(given, tmp_path / "notes")
    assert changed != before
    moved = tmp_path / "moved"
    (tmp_path / "images").rename(moved)
    assert fingerprint(given.model_copy(update={"images": str(moved)})) == changed


def test_where_images_lie_is_no_part_of_a_stage_s_key() -> None:
    def key(**data: Any) -> str:
        return stage_key(
            "images",
            version=1,
            params={"data": data},
            seed=0,
            threads=1,
            device="cpu",
            precision="x",
            inputs={},
        )

    assert key(root="a", images="b") == key(root="c", images=None) == key()


def test_a_folder_of_images_that_is_none_is_refused(tmp_path: Path) -> None:
    given = _apart(tmp_path).model_copy(update={"images": str(tmp_path / "nowhere")})
    for look in (fingerprint, lambda c: read(c, 0)):
        with pytest.raises(DataError, match=r"data\.images: .*nowhere is no folder; give the folder"):
            look(given)
    with pytest.raises(ValidationError, match="images is not used by format: folder"):
        config(tmp_path, "folder", images=str(tmp_path))
