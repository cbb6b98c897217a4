"""What formats of an exported run need beyond the run: names, outlines, classes as folders."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from engine.commands import export_imagefolder
from engine.commands.export_coco import outline
from engine.commands.export_webdataset import key_of
from engine.commands.exported_run import ExportedRun
from engine.errors import DataError


def test_keys_have_no_dot_and_tell_names_apart() -> None:
    names = ["ISIC_1", "a.b", "a%2Eb", "a b", "é.png", "=1+1"]
    keys = [key_of(name) for name in names]
    assert keys[:3] == ["ISIC_1", "a%2Eb", "a%252Eb"]
    assert len(set(keys)) == len(names)
    assert not any("." in key or "/" in key or " " in key for key in keys)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([[0, 1, 0], [0, 1, 1]], {"bbox": [1, 0, 2, 2], "area": 3, "counts": [2, 2, 1, 1]}),
        ([[1, 0], [0, 0]], {"bbox": [0, 0, 1, 1], "area": 1, "counts": [0, 1, 3]}),
    ],
)
def test_an_outline_counts_runs_column_by_column_beginning_outside(
    mask: list[list[int]], expected: dict[str, Any]
) -> None:
    mask_HW = np.array(mask, dtype=np.uint8) * 255
    found = outline(mask_HW)
    assert found == {
        "bbox": expected["bbox"],
        "area": expected["area"],
        "segmentation": {"size": list(mask_HW.shape), "counts": expected["counts"]},
    }


@pytest.mark.parametrize("dx", ["a/b", "..", ".hidden"])
def test_a_class_that_names_no_folder_is_named(dx: str, tmp_path: Path) -> None:
    run = cast(ExportedRun, SimpleNamespace(classes=("mel", dx)))
    with pytest.raises(DataError, match=r"class .* cannot name a folder; rename it with data\.map_labels"):
        export_imagefolder.write(run, tmp_path)
    assert not list(tmp_path.iterdir())
