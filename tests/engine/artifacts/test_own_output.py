"""Folders that hardcase wrote are recognised, with and without a marker, and never read as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from engine.artifacts.own_output import MARKER, below, is_own, mark
from engine.commands.layout import recognise
from engine.commands.output_folder import new_folder, say_output_inside_data
from engine.commands.predict_command import find_images
from engine.config import DataConfig
from engine.data.fingerprint import fingerprint
from engine.data.readers.files import find_files, require_images
from engine.errors import DataError
from engine.store import RunFolder
from tests.integration.tiny import tiny_config


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (120, 60, 60)).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def old_run(folder: Path) -> None:
    text(folder / "config.yaml", "name: a\n")
    text(folder / "stages.json", "{}")
    picture(folder / "rounds" / "0001" / "synthetic" / "a.png")


def old_sweep(folder: Path) -> None:
    text(folder / "config.yaml", "name: a\n")
    text(folder / "journal.jsonl", "")
    picture(folder / "sheet.png")


def old_stage(folder: Path) -> None:
    text(folder / "stage.json", json.dumps({"stage": "vae", "key": "ab", "files": {}}))
    picture(folder / "preview.png")


def old_cache(folder: Path) -> None:
    old_stage(folder / "stages" / "vae-ab")
    text(folder / "stages" / "data-12.txt", "note")


def old_export(folder: Path) -> None:
    text(folder / "README.md", "# Exported by hardcase\n")
    picture(folder / "images" / "a.png")


def old_synthesis(folder: Path) -> None:
    text(folder / "NOTICE.txt", "Synthetic skin-lesion images, made by hardcase. No patient")
    picture(folder / "a.png")


def marked(folder: Path) -> None:
    picture(folder / "a.png")
    mark(folder, "export")


def tracking(folder: Path) -> None:
    picture(folder / "mlartifacts" / "1" / "a.png")
    text(folder / "mlflow.db", "")
    text(folder / "mlflow.db-wal", "")


MAKERS = [old_run, old_sweep, old_stage, old_cache, old_export, old_synthesis, marked, tracking]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two class folders of two images each."""
    for name in ("mel/a.png", "mel/b.png", "nv/c.png", "nv/d.png"):
        picture(tmp_path / "data" / name)
    return tmp_path / "data"


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("place", ["runs", "runs/deep", "nv/inner"])
def test_what_hardcase_wrote_is_not_read_by_any_walk(data: Path, make, place: str) -> None:  # type: ignore[no-untyped-def]
    config = DataConfig(format="folder", root=str(data))
    before = (
        fingerprint(config),
        recognise(data).counts,
        find_images([data])[0],
        len(find_files(data).images),
    )
    make(data / place)
    after = (
        fingerprint(config),
        recognise(data).counts,
        find_images([data])[0],
        len(find_files(data).images),
    )
    assert before == after
    assert before[1] == {"mel": 2, "nv": 2}


@pytest.mark.parametrize("make", [old_run, old_export, old_synthesis, marked])
def test_an_export_is_read_when_it_is_asked_for(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "out")
    assert len(find_images([tmp_path / "out"])[0]) == 1


def test_a_folder_of_a_user_is_not_taken_for_ours(tmp_path: Path) -> None:
    text(tmp_path / "a" / "stage.json", "[]")
    text(tmp_path / "a" / "README.md", "# My images")
    text(tmp_path / "b" / "config.yaml", "x: 1")
    text(tmp_path / "c" / MARKER, '{"made_by": "someone"}')
    picture(tmp_path / "stages" / "a.png")
    assert not any(is_own(tmp_path / name) for name in ("a", "b", "c", "stages"))


def test_run_folders_caches_and_new_folders_carry_the_marker(tmp_path: Path) -> None:
    folder = RunFolder.create(tiny_config(str(tmp_path / "runs")))
    with new_folder(tmp_path / "out") as out:
        picture(out / "a.png")
    assert is_own(folder.path)
    assert is_own(tmp_path / "out")
    assert list(below(tmp_path)) == []


def test_data_that_holds_nothing_but_output_says_so(tmp_path: Path) -> None:
    marked(tmp_path / "runs")
    with pytest.raises(DataError, match="what hardcase wrote, runs, is not read"):
        require_images(find_files(tmp_path))


@pytest.mark.parametrize(("output", "said"), [("data/runs", True), ("data", True), ("runs", False)])
def test_an_output_inside_the_data_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, said: bool
) -> None:
    (tmp_path / "data").mkdir()
    config = tiny_config(str(tmp_path / output), data={"format": "folder", "root": str(tmp_path / "data")})
    say_output_inside_data(config, Console())
    assert ("lies inside data.root" in capsys.readouterr().out) == said
