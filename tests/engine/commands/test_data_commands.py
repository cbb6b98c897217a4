"""`data describe | split | preview` on tiny stage folders."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from engine.commands import data_commands
from engine.commands.data_sheet import GREEN, class_sheet, outline, spread
from engine.config import parse_config
from engine.errors import ConfigError, DataError
from engine.parts.dataset import open_dataset
from engine.store import StageFolder
from engine.store.cache import StageCache
from tests.fakes import make_dataset_folders


class Runner:
    """Hands out finished folders and keeps what it was asked for."""

    def __init__(self, images: Path, split: Path) -> None:
        self.folders = {"images": images, "split": split}
        self.asked: list[tuple[str, dict, list[str], int]] = []
        self.cache = StageCache(images.parent)

    def __call__(self, stage, params, *, inputs, seed=0):
        self.asked.append((stage.name, params.to_json(), sorted(inputs), seed))
        folder = self.folders[stage.name]
        return StageFolder(name=stage.name, key=f"k-{stage.name}", path=folder, seconds=0.0, cached=True)


@pytest.fixture
def runner(tmp_path):
    return Runner(*make_dataset_folders(tmp_path / "stages"))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=140)


CONFIG = parse_config({"data": {"phantom": {"lesions": 30}}})


def _said(console: Console) -> str:
    return console.file.getvalue()


def test_describe_counts_images_and_lesions(runner, console, tmp_path):
    out = tmp_path / "out" / "figures.json"
    figures = data_commands.describe(CONFIG, runner, console, json_path=out)
    frame = pd.read_parquet(runner.folders["split"] / "split.parquet")
    for part, by_class in figures["counts"].items():
        for dx, count in by_class.items():
            rows = frame[(frame["split"] == part) & (frame["dx"] == dx)]
            assert count == len(rows)
            assert figures["lesions"][part][dx] == rows["lesion_id"].nunique()
    assert json.loads(out.read_text()) == figures
    assert list(figures["counts"]) == ["train", "mine", "val", "test"]


@pytest.mark.parametrize(
    ("malignant", "line"),
    [
        (["mel"], "malign   mel\n"),
        (
            ["melanoma", "mel", "x[y]"],
            "malign   mel; data.malignant also names melanoma, x[y], no class of these data\n",
        ),
        (["melanoma"], "malign   no class; data.malignant also names melanoma, no class of these data\n"),
    ],
)
def test_describe_says_which_classes_count_as_malignant(runner, console, malignant, line):
    config = parse_config({"data": {"phantom": {"lesions": 30}, "malignant": malignant}})
    data_commands.describe(config, runner, console)
    assert line in _said(console)


def test_describe_covers_age_sex_site_and_masks(runner, console):
    figures = data_commands.describe(CONFIG, runner, console)
    total = figures["n_used"]
    assert figures["age"]["known"] + figures["age"]["missing"] == total
    assert figures["age"]["missing"] > 0 and figures["age"]["min"] == 20.0
    assert set(figures["sex"]["values"]) == {"female", "male"} and figures["sex"]["missing"] > 0
    assert set(figures["localization"]["values"]) == {"back", "face"}
    assert figures["masks"] == {"file": total, "otsu": 0, "none": 0}
    said = _said(console)
    assert "grouped by lesion" in said and "GROUPS UNKNOWN" not in said
    assert f"masks    {total} file" in said


def test_unknown_metadata_groups_and_skipped_are_said(runner, console):
    images = runner.folders["images"]
    info = json.loads((images / "data.json").read_text())
    info |= {
        "grouped_by": "image",
        "skipped": [{"image_id": f"X{i}", "reason": "[truncated]"} for i in range(12)],
    }
    (images / "data.json").write_text(json.dumps(info))
    table = pd.read_parquet(images / "table.parquet")
    table["age"], table["sex"], table["localization"], table["lesion_id"] = (
        np.nan,
        "",
        "unknown",
        table["image_id"],
    )
    table.to_parquet(images / "table.parquet", index=False)
    figures = data_commands.describe(CONFIG, runner, console)
    assert figures["age"] == {
        "known": 0, "missing": figures["n_used"], "min": None, "median": None, "max": None,
    }  # fmt: skip
    said = _said(console)
    for line in ("GROUPS UNKNOWN", "age      unknown", "sex      unknown", "site     unknown", "skipped  12"):
        assert line in said
    assert "X9: [truncated]" in said and "X10" not in said and "and 2 more" in said


def test_it_says_for_how_many_images_lesions_are_known(runner, console):
    images = runner.folders["images"]
    info = json.loads((images / "data.json").read_text())
    (images / "data.json").write_text(
        json.dumps(info | {"grouped_by": "image", "notes": ["age: 1 values [b]"]})
    )
    table = pd.read_parquet(images / "table.parquet")
    table.loc[:2, "lesion_id"] = table.loc[:2, "image_id"]
    table.to_parquet(images / "table.parquet", index=False)
    figures = data_commands.describe(CONFIG, runner, console)
    total = figures["n_used"]
    assert figures["n_grouped"] == total - 3
    said = _said(console).replace("\n", " ")
    assert f"GROUPS PARTLY KNOWN: {total - 3} of {total} images have a lesion or patient id" in said
    assert "note     age: 1 values [b]" in said


def test_images_without_a_diagnosis_need_no_group(runner, console):
    """A plain folder of unlabelled images lies beside data that name every lesion."""
    images = runner.folders["images"]
    info = json.loads((images / "data.json").read_text())
    more = {"grouped_by": "image", "n_images": info["n_images"] + 9, "n_lesions": info["n_lesions"] + 9}
    (images / "data.json").write_text(json.dumps(info | more))
    figures = data_commands.describe(CONFIG, runner, console)
    assert figures["grouped_by"] == "lesion"
    said = _said(console).replace("\n", " ")
    assert f"images in use, {info['n_lesions']} lesions" in said and "grouped by lesion" in said
    assert "GROUPS" not in said


def test_stages_are_asked_for_under_the_keys_of_a_run(runner, console):
    data_commands.describe(CONFIG, runner, console)
    stages = [stage for stage, _, _, _ in runner.asked]
    assert stages[0] == "images" and "split" in stages
    params = {stage: asked for stage, asked, _, _ in runner.asked}
    assert "split" not in params["images"]["data"] and params["split"]["split"]["train"] == 0.6
    assert runner.asked[-1][2] == ["images"]


def test_split_writes_the_parquet_it_prints(runner, console, tmp_path):
    out = data_commands.split(CONFIG, runner, console, out=tmp_path / "deep" / "split.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(out), pd.read_parquet(runner.folders["split"] / "split.parquet")
    )
    cached = data_commands.split(CONFIG, runner, console)
    assert cached == runner.folders["split"] / "split.parquet"
    assert "digest" in _said(console)


def test_split_writes_csv_where_the_name_says_so(runner, console, tmp_path):
    frame = pd.read_parquet(runner.folders["split"] / "split.parquet")
    frame.loc[0, "lesion_id"] = "=1+1"
    frame.to_parquet(runner.folders["split"] / "split.parquet", index=False)
    out = data_commands.split(CONFIG, runner, console, out=tmp_path / "split.CSV")
    written = pd.read_csv(out, dtype=str)
    assert written["image_id"].tolist() == frame["image_id"].tolist()
    assert written["lesion_id"].tolist() == ["'=1+1", *frame["lesion_id"].tolist()[1:]]
    with pytest.raises(ConfigError, match=r"--out .*split.xlsx: is written as .csv or .parquet"):
        data_commands.split(CONFIG, runner, console, out=tmp_path / "split.xlsx")


class Unsplittable(Runner):
    """A runner whose ``split`` fails as the stage does where classes are too rare."""

    def __call__(self, stage, params, *, inputs, seed=0):
        if stage.name == "split":
            raise DataError("data.split: class c has 1 group(s); set data.split.mine=0")
        return super().__call__(stage, params, inputs=inputs, seed=seed)


@pytest.mark.parametrize("command", [data_commands.describe, data_commands.split])
def test_what_cannot_be_split_is_counted_first(command, runner, console):
    table = pd.read_parquet(runner.folders["images"] / "table.parquet")
    unsplittable = Unsplittable(runner.folders["images"], runner.folders["split"])
    with pytest.raises(DataError, match=r"class c has 1 group.*set data.split.mine=0"):
        command(CONFIG, unsplittable, console)
    said = _said(console)
    for dx, rows in table.groupby("dx"):
        assert re.search(rf"│ {dx} +│ +{len(rows)} \({rows['lesion_id'].nunique()}\) │", said)
    assert f"{len(table)} of {len(table)} images in use" in said and "masks " in said
    assert "no split" in said and "train" not in said


def test_preview_is_a_row_a_class_with_green_outlines(runner, console, tmp_path):
    out = data_commands.preview(CONFIG, runner, console, out=tmp_path / "sheet.png")
    with Image.open(out) as image:
        pixels = np.asarray(image)
    assert pixels.shape[0] == 3 * (128 + 4)
    assert (pixels == GREEN).all(axis=2).sum() > 500
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize("command", ["describe", "split", "preview"])
def test_output_that_cannot_be_written_is_one_error(command, runner, console, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    key = "json_path" if command == "describe" else "out"
    with pytest.raises(ConfigError, match="cannot be written"):
        getattr(data_commands, command)(CONFIG, runner, console, **{key: out})


def test_outline_is_one_pixel_outside_the_mask():
    mask = np.zeros((5, 5), dtype=bool)
    mask[2, 2] = True
    assert np.argwhere(outline(mask)).tolist() == [[1, 2], [2, 1], [2, 3], [3, 2]]


def test_spread_takes_one_image_a_lesion(runner):
    dataset = open_dataset(runner.folders["images"], runner.folders["split"])
    members = np.arange(len(dataset.table))
    chosen = spread(dataset, members, 7)
    assert len(chosen) == 7 and len(set(dataset.table.lesion_id[chosen])) == 7
    everyone = spread(dataset, members, 1000)
    assert len(everyone) == len(np.unique(dataset.table.lesion_id))


def test_a_mask_of_everything_has_no_outline(runner):
    masks = np.load(runner.folders["images"] / "masks.npy")
    np.save(runner.folders["images"] / "masks.npy", np.full_like(masks, 255))
    dataset = open_dataset(runner.folders["images"], runner.folders["split"])
    assert not (np.asarray(class_sheet(dataset, 3)) == GREEN).all(axis=2).any()
