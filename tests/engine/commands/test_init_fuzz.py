"""Whatever folder `init` is given, it writes a config that loads and reads, or says one thing to mend, and no more."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from engine.commands.init_command import init
from engine.commands.init_values import Machine
from engine.config import load_config
from engine.data.readers.table import read
from engine.errors import HardcaseError

pytestmark = pytest.mark.no_cover  # the readers have tests of their own; tracing twice as slow adds nothing

MACHINE = Machine(cores=2, gpu=False)
STEMS = ("a", "B", "ISIC_0000001", "1", "x y", "é")
FILES = st.lists(
    st.tuples(
        st.sampled_from(
            ["", "images", "mel", "nv", "imgs_part_1", "imgs_part_2", "train/mel", "test/nv", "__MACOSX"]
        ),
        st.sampled_from(STEMS),
        st.sampled_from([".jpg", ".JPG", ".png", "_superpixels.png", "_segmentation.png"]),
    ),
    max_size=8,
)
COLUMNS = st.one_of(
    st.sampled_from(["image", "image_id", "isic_id", "img_id", "md5hash", "lesion_id", "patient_id", "dx", "label",
                     "diagnostic", "benign_malignant", "target", "MEL", "NV", "melanoma", "seborrheic_keratosis", "age",
                     "sex", "split", "fitzpatrick", "pixel0000", "label", ""]),
    st.text(max_size=4),
)  # fmt: skip
CELLS = st.one_of(
    st.sampled_from([*STEMS, "a.jpg", "B.JPG", "images/a.jpg", "../a.jpg", "/etc/passwd", "mel", "NV", "0", "1", "1.0", "",
                     "0.0", "unknown", "85+", "-1", "train", "[/b]", "=1+1", "a\nb: c"]),
    st.text(max_size=4),
)  # fmt: skip
NAMES = st.sampled_from(["list.csv", "metadata.csv", "HAM10000_metadata.csv", "x_GroundTruth.csv", "sub/y_GroundTruth.csv",
                         "meta/meta.csv", "t.tsv", "hmnist_1.csv"])  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    columns = draw(st.lists(COLUMNS, min_size=1, max_size=5))
    row = st.lists(CELLS, min_size=len(columns), max_size=len(columns))
    return draw(NAMES), [columns, *draw(st.lists(row, max_size=6))]


def _write(root: Path, files: list[tuple[str, str, str]], found: list[tuple[str, list[list[str]]]]) -> None:
    for folder, stem, ending in files:
        path = root / folder / f"{stem}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    for name, rows in found:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as handle:
            csv.writer(handle, delimiter="\t" if name.endswith("tsv") else ",").writerows(rows)


def _try(place: Path, out: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    try:
        init(place, out, console, machine=MACHINE)
    except HardcaseError as error:
        assert str(error).strip() and not out.exists()
        return
    config = load_config(out)
    try:
        source = read(config.data, 0)
    except HardcaseError:  # what a CHECK line names: too few classes, absent images
        assert "# CHECK" in out.read_text(encoding="utf-8")
        return
    assert set(config.data.malignant) <= {*source.table.classes, *config.data.map_labels.values()}
    assert all(Path(str(path)).is_relative_to(place) for path in source.table.path if path)


def _any_folder(files: Any, found: Any, place: Path) -> None:
    root = place / "data"
    root.mkdir()
    _write(root, files, found)
    _try(root, place / "c.yaml")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=FILES, found=st.lists(tables(), max_size=2))
def test_any_folder_is_read_or_refused(
    files: Any, found: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _any_folder(files, found, tmp_path_factory.mktemp("fuzz"))


@pytest.mark.heavy
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=FILES, found=st.lists(tables(), max_size=2))
def test_any_folder_is_read_or_refused_at_length(
    files: Any, found: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _any_folder(files, found, tmp_path_factory.mktemp("fuzz"))
