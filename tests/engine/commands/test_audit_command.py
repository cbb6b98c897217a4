"""`data audit` end to end on planted faults: JSON contract and order, terminal summary, pictures, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from engine import cli
from engine.data.duplicates import same_lesion
from tests.engine.data import layouts
from tests.engine.data.duplicates import photographs

LESIONS = 24


def hardcase(*arguments: object):
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(cli.app, [str(a) for a in arguments])


def skin(seed: int) -> np.ndarray:
    """A disc on a texture of its own, 60 x 80."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    disc = ndimage.gaussian_filter(((y - 30) ** 2 + (x - 40) ** 2 < 150).astype(float), 2)
    grey = 190 - 100 * disc + 60 * ndimage.gaussian_filter(rng.normal(size=(60, 80)), 1)
    return np.clip(np.repeat(grey[..., None], 3, axis=-1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 lesions: 4 is 0 mirrored with another class, 5 is 1 byte for byte; 6 has two classes; masks 2 and 3 are broken."""
    root = tmp_path_factory.mktemp("audit")
    rows = layouts.ham_rows(LESIONS, views=1)
    rows = pd.concat([rows, rows.iloc[[6]].assign(image_id="ISIC_0061", dx="nv")], ignore_index=True)
    rows.loc[4, "dx"] = "nv"
    rows["dx_type"] = ["follow_up" if dx == "nv" else "histo" for dx in rows["dx"]]
    layouts.write_ham(root / "data", rows=rows)
    images, masks = root / "data" / "images", root / "data" / "masks"
    for seed, name in enumerate(rows["image_id"]):
        layouts.save(images / f"{name}.jpg", skin(seed))
        mask = np.zeros((60, 80), np.uint8)
        mask[20:40, 30:50] = 255
        layouts.save(masks / f"{name}_segmentation.png", mask)
    layouts.save(images / "ISIC_0040.jpg", np.ascontiguousarray(skin(0)[:, ::-1]))
    (images / "ISIC_0050.jpg").write_bytes((images / "ISIC_0010.jpg").read_bytes())
    layouts.save(masks / "ISIC_0020_segmentation.png", np.full((60, 80), 255, np.uint8))
    layouts.save(masks / "ISIC_0030_segmentation.png", np.zeros((60, 80), np.uint8))
    (root / "config.yaml").write_text(
        f"output: {root / 'runs'}\ndata: {{format: ham10000, root: {root / 'data'}, image_size: 48}}\n"
    )
    return root


@pytest.mark.slow
def test_every_fault_is_found(faulty: Path, tmp_path: Path) -> None:
    result = hardcase(
        "data", "audit", faulty / "config.yaml", "--json", tmp_path / "f.json", "--out", tmp_path / "sheets"
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "f.json").read_text())
    pairs = found["pairs"]
    assert [(p["image_id_1"], p["image_id_2"], p["kind"]) for p in pairs] == [
        ("ISIC_0010", "ISIC_0050", "exact"),
        ("ISIC_0000", "ISIC_0040", "transformed"),
    ]
    assert pairs[0]["score"] == 1.0 >= pairs[1]["score"] > 0.7
    assert pairs[1]["transformation"]["turn"] == "mirrored" and pairs[1]["label_conflict"]
    assert {"lesion_id_1", "lesion_id_2", "dx_1", "dx_2", "split_1", "split_2"} <= set(pairs[0])
    assert pairs[0]["split_1"] == pairs[0]["split_2"] != "", "merge_duplicates kept them together"
    assert [c["lesion_id"] for c in found["lesion_conflicts"]] == ["HAM_006"]
    assert [(m["image_id"], m["problem"]) for m in found["masks"]] == [
        ("ISIC_0020", "whole_frame"),
        ("ISIC_0030", "empty"),
    ]
    verdicts = {c["column"]: c["verdict"] for c in found["columns"]}
    assert verdicts["dx_type"] == "leaks" and verdicts["image_id"] == "identifier"
    assert verdicts["sex"] == "constant" and "dx" not in verdicts
    assert found["counts"]["pairs_with_two_diagnoses"] == 1
    for word in ("ISIC_0040", "HAM_006 has two diagnoses", "1 whole_frame", "dx_type", "2 pair(s)"):
        assert word in result.stdout
    with Image.open(tmp_path / "sheets" / "pairs.png") as sheet:
        first, second = (
            np.asarray(sheet, dtype=float)[154:304, 250 + k * 154 : 400 + k * 154] for k in (0, 2)
        )
    assert np.abs(first - second)[20:-20, 20:-20].mean() < 12, "the second is laid onto the first"
    assert (tmp_path / "sheets" / "masks.png").exists()


def test_pairs_left_apart_are_said(faulty: Path) -> None:
    result = hardcase("data", "audit", faulty / "config.yaml", "data.split.merge_duplicates=false")
    assert result.exit_code == 0
    assert "merge_duplicates is off" in result.stdout


@pytest.mark.slow
def test_second_photographs_are_listed_and_the_less_sure_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ISIC_0040 shows the lesion of ISIC_0000 in another light, turned and zoomed; sure, then not."""
    layouts.write_ham(tmp_path / "data", rows=layouts.ham_rows(LESIONS, views=1))
    images = tmp_path / "data" / "images"
    for seed, path in enumerate(sorted(images.glob("*.jpg"))):
        layouts.save(path, photographs.photograph(photographs.skin(seed)))
    second = photographs.photograph(photographs.skin(0), degrees=-15, zoom=1.2, colour=(0.8, 0.78, 0.95))
    layouts.save(images / "ISIC_0040.jpg", second)
    where = f"data: {{format: ham10000, root: {tmp_path / 'data'}, image_size: 48, workers: 1}}\n"
    for name, sure in (("sure", True), ("unsure", False)):
        monkeypatch.setattr(same_lesion, "SURE", 8 if sure else 1000)
        (tmp_path / f"{name}.yaml").write_text(f"output: {tmp_path / name}\n{where}")
        json_path, sheets = tmp_path / f"{name}.json", tmp_path / f"{name}_sheets"
        result = hardcase("data", "audit", tmp_path / f"{name}.yaml", "--json", json_path, "--out", sheets)
        assert result.exit_code == 0, result.output
        found = json.loads(json_path.read_text())
        (pair,) = found["pairs"]
        assert (pair["image_id_1"], pair["image_id_2"], pair["kind"]) == (
            "ISIC_0000",
            "ISIC_0040",
            "same_lesion",
        )
        assert pair["sure"] is sure and found["counts"]["pairs_less_sure"] == (0 if sure else 1)
        assert ("less sure" in result.stdout) is not sure
        with Image.open(sheets / "pairs.png") as sheet:
            first, laid = (
                np.asarray(sheet, dtype=float)[:150, 250 + k * 154 : 400 + k * 154].mean(axis=2)
                for k in (0, 2)
            )
        shown = laid > 5
        assert np.corrcoef(first[shown], laid[shown])[0, 1] > 0.8, "the second is laid onto the first"


@pytest.mark.slow
def test_phantoms_have_nothing_to_report(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        f"output: {tmp_path / 'runs'}\ndata: {{image_size: 32, phantom: {{lesions: 60}}}}\n"
    )
    result = hardcase("data", "audit", tmp_path / "c.yaml", "--json", tmp_path / "f.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["pairs"] == [] and found["lesion_conflicts"] == []
    assert {c["column"]: c["verdict"] for c in found["columns"]} == {
        "age": "fine",
        "localization": "fine",
        "sex": "fine",
    }
    assert "no near-duplicates" in result.stdout


@pytest.mark.parametrize(("option", "message"), [("--json", "--json: "), ("--out", "--out: ")])
def test_places_that_cannot_be_written_are_one_line(
    faulty: Path, tmp_path: Path, option: str, message: str
) -> None:
    (tmp_path / "file").write_text("")
    result = hardcase("data", "audit", faulty / "config.yaml", option, tmp_path / "file" / "x")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}") and len(result.stderr.splitlines()) == 1


def test_a_missing_config_and_a_missing_folder(tmp_path: Path) -> None:
    assert hardcase("data", "audit", tmp_path / "none.yaml").exit_code == 2
    (tmp_path / "c.yaml").write_text(f"data: {{format: ham10000, root: {tmp_path / 'none'}}}\n")
    result = hardcase("data", "audit", tmp_path / "c.yaml", f"output={tmp_path / 'runs'}")
    assert result.exit_code == 2 and "does not exist" in result.stderr
