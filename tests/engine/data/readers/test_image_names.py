"""Masks, superpixels and maps are told from images by their names, and a mask finds its image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import DataConfig
from engine.data.readers.files import find_files
from engine.data.readers.image_names import sort_out
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
