"""Masks, superpixels and maps are told from images by their names, and a mask finds its image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.commands.predict_command import find_images
from engine.config import DataConfig
from engine.data.fingerprint import fingerprint
from engine.data.readers.files import find_files
from engine.data.readers.image_names import IMAGE_SUFFIXES, sort_out
from engine.data.readers.table import read
from engine.errors import DataError
from tests.engine.data import layouts

LAYOUTS = {
    "ISIC 2016": (["d/ISIC_1.jpg"], ["gt/ISIC_1_Segmentation.png"], []),
    "ISIC 2017": (["d/ISIC_1.jpg"], ["m/ISIC_1_segmentation.png"], ["d/ISIC_1_superpixels.png"]),
    "ISIC 2018, task 2": (["i/ISIC_1.jpg"], [], ["t/ISIC_1_attribute_milia_like_cyst.png"]),
    "HAM10000": (
        ["part_1/ISIC_1.jpg"], ["HAM10000_segmentations_lesion_tschandl/ISIC_1_segmentation.png"], [],
    ),
    "PH2": (
        ["IMD002/IMD002_Dermoscopic_Image/IMD002.bmp"], ["IMD002/IMD002_lesion/IMD002_lesion.bmp"],
        ["IMD002/IMD002_roi/IMD002_R1_Label4.bmp"],
    ),
    "same names in two folders": (["images/mel/a.jpg", "images/nv/b.jpg"], ["masks/a.png", "masks/b.png"], []),
    "masks beside": (["mel/a.jpg"], ["mel/a_mask.png"], ["mel/a-contour.png"]),
    "only folders named like masks": (["masks/a.png", "masks/b.png"], [], []),
    "photographs whose names end like masks": (["mel/a_lesion.jpg", "nv/b_mask.jpg", "nv/c_seg.jpg"], [], []),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path: Path, name: str) -> None:
    images, masks, maps = LAYOUTS[name]
    for file in (*images, *masks, *maps):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_files(tmp_path)
    for have, want in ((found.images, images), (found.masks, masks), (found.maps, maps)):
        assert sorted(path.relative_to(tmp_path).as_posix() for path in have) == sorted(want)
    given = [str(tmp_path / file) for file in images]
    want = [str(tmp_path / file) for file in masks] or [""] * len(images)
    assert found.mask_paths(given) == want


def test_of_several_masks_the_published_ending_and_the_nearest_folder_come_first(tmp_path: Path) -> None:
    one = ("mel/1.jpg", "nv/1.jpg", "masks/mel/1.png", "masks/nv/1.png")
    for file in (*one, "nv/2.jpg", "nv/2_mask.png", "nv/2_segmentation.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_files(tmp_path)
    masks = found.mask_paths(str(tmp_path / name) for name in ("mel/1.jpg", "nv/1.jpg", "nv/2.jpg"))
    assert [Path(m).relative_to(tmp_path).as_posix() for m in masks] == [
        "masks/mel/1.png", "masks/nv/1.png", "nv/2_segmentation.png",
    ]  # fmt: skip


def test_a_table_may_name_as_an_image_what_only_its_neighbours_make_a_mask(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "a_lesion", "b", "b_lesion")):
        layouts.save(tmp_path / "img" / f"{name}.png", layouts.picture(seed))
    rows = "".join(f"img/{name}.png,{dx}\n" for name, dx in (("a_lesion", "mel"), ("b_lesion", "nv")))
    (tmp_path / "t.csv").write_text("image,dx\n" + rows)
    columns = {"image": "image", "label": "dx"}
    config = DataConfig.model_validate({"format": "table", "root": str(tmp_path), "columns": columns})
    assert read(config, 0).table.image_id.tolist() == ["a_lesion", "b_lesion"]


def test_a_mask_whose_image_is_missing_is_no_image_of_its_name(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path, masks=False)
    for name in ("ISIC_0000", "ISIC_0001"):
        layouts.save(tmp_path / "masks" / f"{name}.png", np.full((30, 40), 255, np.uint8))
    (tmp_path / "images" / "ISIC_0000.jpg").unlink()
    with pytest.raises(DataError, match="ISIC_0000 is listed but its file is absent"):
        read(DataConfig.model_validate({"format": "ham10000", "root": str(tmp_path)}), 0)


def test_a_name_that_is_no_utf8_is_refused_and_another_file_of_such_a_name_is_not(tmp_path: Path) -> None:
    for seed, name in enumerate(("mel/a.png", "mel/b.png", "nv/c.png", "nv/d.png")):
        layouts.save(tmp_path / name, layouts.picture(seed))
    config = DataConfig(format="folder", root=str(tmp_path))
    before = fingerprint(config)
    (tmp_path / "notes-\udcff.txt").touch()
    assert fingerprint(config) != before
    assert len(read(config, 0).table) == 4
    layouts.save(tmp_path / "nv" / "\udce4.png", layouts.picture(9))
    for look in (
        find_files,
        lambda root: find_images([root]),
        lambda root: find_images([root / "nv" / "\udce4.png"]),
    ):
        with pytest.raises(DataError, match=r"udce4\.png': the name is no UTF-8; rename the file"):
            look(tmp_path)


KINDS = st.sampled_from(["file", "folder", "pipe", "link to nothing", "link to itself", "link out"])
NAMES = st.sampled_from(
    ["a.png", "b.JPG", "._a.png", ".hidden", "Thumbs.db", "a_mask.png", "masks", "__MACOSX", "c.HEIC", "d"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3), KINDS), max_size=8))
def test_any_tree_is_listed_without_opening_or_losing_a_file(
    tmp_path_factory: pytest.TempPathFactory, tree: list[tuple[list[str], str]]
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x.png"
    outside.touch()
    root = tmp_path_factory.mktemp("tree")
    for parts, kind in tree:
        path = root.joinpath(*parts)
        if (
            any((p.exists() and not p.is_dir()) or p.is_symlink() for p in (path, *path.parents))
            or path.exists()
        ):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        make = {
            "file": path.touch, "folder": path.mkdir, "pipe": lambda path=path: os.mkfifo(path),
            "link to nothing": lambda path=path: path.symlink_to(root / "gone"),
            "link to itself": lambda path=path: path.symlink_to(path.name),
            "link out": lambda path=path: path.symlink_to(outside),
        }  # fmt: skip
        make[kind]()
    found = find_files(root)
    listed = {*found.images, *found.masks, *found.maps}
    assert len(listed) == len(found.images) + len(found.masks) + len(found.maps)
    for place, _, names in os.walk(root):
        hidden = any(part.startswith((".", "__")) for part in Path(place).relative_to(root).parts)
        for path in (Path(place) / name for name in names):
            wanted = path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "." and not hidden
            assert (path in listed) == (wanted and (path.is_file() or not path.exists())), path
    assert outside.stat().st_size == 0


ENDINGS = ("", "_mask", "_seg", "_segmentation", "_Segmentation", "_lesion", "_superpixels", "_gt", "-mask")
FOLDERS = ("", "mel", "masks", "nv/inner", "superpixels")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(FOLDERS), st.sampled_from(["a", "b", "c_1"]), st.sampled_from(ENDINGS)),
        unique=True, min_size=1,
    )
)  # fmt: skip
def test_each_file_is_one_kind_and_order_does_not_matter(parts: list[tuple[str, str, str]]) -> None:
    root = Path("/d")
    paths = [root / folder / f"{name}{ending}.png" for folder, name, ending in parts]
    one, other = sort_out(paths, root), sort_out(paths[::-1], root)
    assert sorted((*one.images, *one.masks, *one.maps)) == sorted(paths)
    for kind in ("images", "masks", "maps", "by_ending", "by_folder"):
        assert set(getattr(one, kind)) == set(getattr(other, kind))
    assert not any(path.stem.lower().endswith("_segmentation") for path in one.images)
    stems = {path.stem for path in paths}
    for path in one.by_ending:  # the image of that name is there
        assert any(stem != path.stem and path.stem.startswith(stem) for stem in stems)
    for path in one.by_folder:
        assert path.relative_to(root).parts[0] in ("masks", "superpixels")
    assert one.images or not one.by_folder
