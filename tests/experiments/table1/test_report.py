"""The sets of Table I are collected: means beside the paper's, and a study that waits for all of its sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.store.files import write_json
from experiments.lib.outcomes import pack_cases, point_figures
from experiments.table1.report import collect
from experiments.table1.studies import PRIMARY_TABLE
from experiments.table1.tried import setting
from tests.experiments.fake_replicates import ARMS, cell, opened


def stop_half_way(path: Path) -> None:
    """Leave a set as a call leaves it that was killed before its last row, begun by another commit."""
    found = json.loads(path.read_text())
    cells = found["tables"][PRIMARY_TABLE]["cells"]
    del cells["resnet18 | Hybrid1000 random"]
    cells["resnet18 | Hybrid1000"]["made"] = {"commit": "bbbbbbb"}
    write_json(path, found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gain", "lesions", "verdict"), [(0.8, 1800, "helped"), (-0.6, 400, "hurt"), (0.0, 400, "not shown")]
)
def test_sets_of_table_one_are_collected(tmp_path: Path, gain: float, lesions: int, verdict: str) -> None:
    folder = tmp_path / "table1"
    folder.mkdir()
    runs = opened(tmp_path / "runs", gain={"hard": gain}, lesions=lesions, replicates=8)
    for number, run in enumerate(runs, start=2):
        rows = {"real": "Origin500 plain", "random": "Hybrid1000 random", "hard": "Hybrid1000"}
        cells = {f"resnet18 | {rows[arm]}": cell(run, arm, synthetic=500) for arm in run.arms}
        config = {"data": {"split": {"train_sets": {"use": [2 * number]}}}, "classifier": {"steps": 500}}
        config |= {"loop": {"arms": list(ARMS)}}
        table = {"cases": pack_cases(run), "cells": cells, "config": config, "commit": "aaaaaaa"}
        write_json(
            folder / f"set_{number:02d}.json",
            {"set": number, "part": "confirm", "tables": {PRIMARY_TABLE: table}},
        )
    collect(folder, draws=400)
    entry = json.loads((folder / "result.json").read_text())["tables"][0]
    assert entry["primary"]
    assert entry["sets"] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert entry["study"]["answer"]["verdict"] == verdict, entry["study"]["answer"]
    text = (folder / "table.md").read_text()
    assert entry["study"]["answer"]["sentence"] in text
    assert "| Hybrid1000 | 8 | 500 + 500 |" in text
    assert "Made by aaaaaaa." in text
    assert (folder / "table.png").stat().st_size > 10_000
    assert (folder / "contrasts.png").stat().st_size > 10_000
    stop_half_way(folder / "set_09.json")
    collect(folder, draws=100)
    study = json.loads((folder / "result.json").read_text())["tables"][0]["study"]
    assert study["design"]["replicates"] == 7
    assert (study["answer"]["verdict"], study["answer"]["reason"]) == (
        "not shown",
        "7 training sets; 9 of the planned ones are missing",
    )
    assert not {"better", "worse"} & {contrast["claim"] for contrast in study["contrasts"]}
    text = (folder / "table.md").read_text()
    assert ("| Hybrid1000 | 8 |" in text) and ("| Hybrid1000 random | 7 |" in text)
    assert "Made by aaaaaaa, bbbbbbb." in text
    other = json.loads((folder / "set_07.json").read_text())
    other["tables"][PRIMARY_TABLE]["config"]["classifier"]["steps"] = 300
    write_json(folder / "set_07.json", other)
    with pytest.raises(ConfigError, match=r"set 7, confirm, .* classifier\.steps \(500 there, 300 now\)"):
        collect(folder, draws=100)


def test_one_set_has_means_and_no_contrast(tmp_path: Path) -> None:
    run = opened(tmp_path / "runs", replicates=1)[0]
    cells = {"resnet18 | Origin500": {"n_real": 500, "n_synthetic": 0, "figures": point_figures(run, "real")}}
    write_json(
        tmp_path / "set_00.json",
        {
            "set": 0,
            "part": "development",
            "tables": {"own in total 64 px": {"cells": cells, "config": {}, "commit": "a"}},
        },
    )
    collect(tmp_path, draws=100)
    text = (tmp_path / "table.md").read_text()
    assert "scored on val" in text
    assert "no contrast yet" in text


def test_one_confirming_set_compares_synthetic_with_real_images_by_model(tmp_path: Path) -> None:
    run = opened(tmp_path / "runs", gain={"hard": -0.6}, replicates=1)[0]
    arms = {"Origin500": "real", "Hybrid1000": "hard", "Synthetic500": "random"}
    cells = {
        f"{model} | {row}": cell(run, arm, synthetic=300)
        for model in ("resnet18", "vgg16")
        for row, arm in arms.items()
    }
    del cells["resnet18 | Hybrid1000"]
    config = {"data": {"image_size": 32}, "loop": {"generator_saw": "train", "arms": list(ARMS)}}
    table = {"cases": pack_cases(run), "cells": cells, "config": config, "commit": "aaaaaaa"}
    write_json(
        tmp_path / "set_02.json", {"set": 2, "part": "confirm", "tables": {"train in total 32 px": table}}
    )
    collect(tmp_path, draws=100)
    (entry,) = json.loads((tmp_path / "result.json").read_text())["tables"]
    assert not entry["primary"]
    assert list(entry["by_model"]) == ["vgg16"], "a model without both rows is left out"
    found = entry["by_model"]["vgg16"]["malignant.sensitivity"]
    alone, hybrid = (point_figures(run, arm)["malignant.sensitivity"] for arm in ("real", "hard"))
    assert (found["real"], found["hybrid"]) == (alone, hybrid)
    assert found["difference"] == pytest.approx(hybrid - alone, abs=1e-9)
    assert found["low"] < found["difference"] < found["high"] < 0
    text = (tmp_path / "table.md").read_text()
    assert "On a CPU: 32 px instead of 64, one training set, one seed." in text
    assert "The generator saw the whole pool" in text
    assert "| +4.80 |" in text, "Kim et al.: VGG16 gains 90.03 - 85.23"


def test_a_setting_is_named_by_what_changed() -> None:
    tables = {0: {"commit": "abcdef0123"}}
    tried = "own in total 64 px, loop.arms=[real, hard], synthesis.strength=0.5"
    assert setting(tried, tables) == "synthesis.strength=0.5"
    assert setting("own in total 64 px, loop.arms=[hard]", tables) == "the config of abcdef0"
    assert setting("own in total 32 px, loop.arms=[hard]", tables) == "32 px: the config of abcdef0"
