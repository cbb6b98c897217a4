"""The door to finished files: what differs from its checksum is named, and a stage that differs is computed again."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from engine.artifacts.checksums_json import FILE as PUBLISHED
from engine.artifacts.digests import checksum
from engine.errors import DamagedError
from engine.store import RunFolder
from engine.store.verified import PublishedFiles
from tests.engine.store.test_cache import VAE, CountingBackend, Params, make_runner
from tests.engine.training.test_checkpoints import empty, flip, truncate
from tests.integration.tiny import tiny_config

pytestmark = pytest.mark.faults

STUBS = ["[]", "{}", '{"seconds": 1}', '{"seconds": "x", "files": {}}', '{"seconds": 1, "files": []}',
         '{"seconds": 1, "files": {"result.txt": 3}}', "null", "",
         '{"seconds": 1, "files": {}, "sizes": {"a": "b"}}']  # fmt: skip


@pytest.mark.parametrize("stub", STUBS)
def test_a_stub_of_a_manifest_is_mended_by_a_rerun(tmp_path: Path, stub: str) -> None:
    backend = CountingBackend()
    folder = make_runner(tmp_path, backend)(VAE, Params())
    (folder.path / "stage.json").write_text(stub)
    again = make_runner(tmp_path, backend)(VAE, Params())
    assert backend.calls == ["vae", "vae"]
    assert json.loads((again.path / "stage.json").read_text())["files"].keys() == {"result.txt"}


@pytest.mark.parametrize("damage", [truncate, empty])
def test_sizes_are_compared_each_time(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    backend = CountingBackend()
    runner = make_runner(tmp_path, backend)
    folder = runner(VAE, Params())
    damage(folder.path / "result.txt", random.Random(0))
    assert runner(VAE, Params()).cached is False


def run_with_stage(tmp_path: Path) -> tuple[RunFolder, Path]:
    run = RunFolder.create(tiny_config(str(tmp_path)))
    folder = make_runner(tmp_path / "stages", CountingBackend())(VAE, Params())
    run.record("foundation/vae", folder)
    return run, folder.path


@pytest.mark.parametrize("damage", [truncate, empty, flip])
@pytest.mark.parametrize("name", ["result.txt", "stage.json"])
def test_a_damaged_stage_of_a_run_is_named(tmp_path: Path, damage, name: str) -> None:  # type: ignore[no-untyped-def]
    run, stage = run_with_stage(tmp_path)
    RunFolder.open(run.path).stage("foundation/vae")
    damage(stage / name, random.Random(3))
    remedy = rf"{name}: is damaged; run `hardcase run {run.path}/config.yaml`"
    with pytest.raises(DamagedError, match=remedy):
        RunFolder.open(run.path).stage("foundation/vae")


def test_a_stage_without_sizes_is_held_against_its_checksums(tmp_path: Path) -> None:
    run, stage = run_with_stage(tmp_path)
    manifest = json.loads((stage / "stage.json").read_text())
    del manifest["sizes"], manifest["digest"]
    (stage / "stage.json").write_text(json.dumps(manifest))
    assert run.stage("foundation/vae").path == stage
    (stage / "result.txt").write_text("other")
    with pytest.raises(DamagedError, match="result"):
        RunFolder.open(run.path).stage("foundation/vae")


def test_a_file_that_is_being_replaced_may_be_the_old_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for content in ("1", "2", "3"):
        before = path.read_text() if path.exists() else None
        new = tmp_path / "new"
        new.write_text(content)
        PublishedFiles(tmp_path).expect({path: checksum(new)})
        if before is not None:
            PublishedFiles(tmp_path).verify([path.name])
        new.replace(path)
        PublishedFiles(tmp_path).verify([path.name])
    assert len(json.loads((tmp_path / PUBLISHED).read_text())["files"]["report.json"]) == 2
    path.write_text("1")
    with pytest.raises(DamagedError, match=r"report.json: is damaged .* remove it and run `hardcase run"):
        PublishedFiles(tmp_path).verify([path.name])


def test_a_changed_config_is_named_with_what_helps(tmp_path: Path) -> None:
    run, _ = run_with_stage(tmp_path)
    (run.path / "config.yaml").write_text((run.path / "config.yaml").read_text() + "# changed\n")
    with pytest.raises(DamagedError, match=r"config\.yaml: is damaged .* or run again with name=OTHER"):
        RunFolder.open(run.path)


def test_a_file_that_a_run_replaces_while_it_is_read_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = PublishedFiles(tmp_path), PublishedFiles(tmp_path)
    writer.write(tmp_path / "report.json", "1")
    known, turns = PublishedFiles._known, []

    def knows(files: PublishedFiles) -> dict[str, tuple[str, ...]]:
        found = known(files)
        if files is reader and len(turns) < 3:
            turns.append(len(turns))
            for text in ("a", "b"):
                writer.write(tmp_path / "report.json", f"{len(turns)}{text}")
        return found

    monkeypatch.setattr(PublishedFiles, "_known", knows)
    reader.verify(["report.json"])
    assert len(turns) == 3
    (tmp_path / "report.json").write_text("damaged")
    with pytest.raises(DamagedError, match=r"report\.json: is damaged"):
        PublishedFiles(tmp_path).verify(["report.json"])
