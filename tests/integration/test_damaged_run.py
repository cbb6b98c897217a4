"""Damage to any file of a finished run is one line that names the file, in every command that reads the run."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine import cli
from engine.artifacts.checksums_json import FILE as PUBLISHED
from tests.engine.training.test_checkpoints import empty, flip, truncate
from tests.integration.tiny import copy_stages

pytestmark = pytest.mark.faults

UNCHECKED = {"report.html", "stages.jsonl", PUBLISHED, ".lock", ".hardcase.json", "mlflow.json"}
"""Written again by the command that reads them, or read by none; ``checksums.json`` has a test of its own."""


def array(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"[]")


DAMAGES = [truncate, empty, flip, array]


@pytest.fixture(scope="module")
def copied(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run with its stages, in which files are damaged one after the other and put back."""
    home = tmp_path_factory.mktemp("damaged") / "runs"
    shutil.copytree(finished_run, home / finished_run.name)
    copy_stages(finished_run, home)
    return home


def commands(run: Path, tmp_path: Path) -> dict[str, list[str]]:
    images = next((run / "rounds").glob("*/synthetic/*.png"))
    data = ["data.format=folder", f"data.root={tmp_path}"]
    return {
        "report": ["report", str(run)],
        "compare": ["compare", str(run), str(run)],
        "evaluate": ["evaluate", str(run), *data],
        "predict": ["predict", str(run), str(images), "--csv", str(tmp_path / "p.csv")],
        "synthesize": [
            "synthesize",
            str(run),
            "--class",
            "mel",
            "--count",
            "1",
            "--out",
            str(tmp_path / "s"),
        ],
        "export data": ["export", "data", str(run), "--out", str(tmp_path / "d")],
        "export model": ["export", "model", str(run), "--out", str(tmp_path / "m")],
    }


def invoke(arguments: list[str]) -> tuple[int, str, BaseException | None]:
    result = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"}).invoke(cli.app, arguments)
    return result.exit_code, result.output, result.exception


def assert_one_line(found: tuple[int, str, BaseException | None], path: Path) -> None:
    code, output, error = found
    assert isinstance(error, SystemExit), repr(error)
    assert code == 2, output
    said = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert path.name in said[0]
    assert "Traceback" not in output


def run_files(run: Path) -> list[str]:
    """One file of each kind: the rounds of one run hold the same names again."""
    seen: dict[tuple[str, str], str] = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file() and p.name not in UNCHECKED):
        kind = path.suffix if path.suffix == ".png" else path.name
        seen.setdefault(
            (kind, path.parent.name if path.suffix == ".png" else ""), path.relative_to(run).as_posix()
        )
    return list(seen.values())


READ_BY_ALL = (".json", ".parquet", ".yaml")


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_small_files_are_checked_whenever_a_run_is_opened(copied: Path, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    run, rng = copied / "finished", random.Random(5)
    names = [name for name in run_files(run) if name.endswith(READ_BY_ALL)]
    assert {"config.yaml", "report.json", "split.parquet", "champion.json"} <= set(names)
    for number, name in enumerate(names):
        path = run / name
        kept = path.read_bytes()
        damage(path, rng)
        try:
            every = list(commands(run, tmp_path).values())
            if damage is not truncate:  # all commands check before they read: one kind of damage tells that
                every = [every[number % len(every)]]
            for arguments in every:
                assert_one_line(invoke(arguments), path)
        finally:
            path.write_bytes(kept)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("finished/**/classifier.safetensors", "predict"),
        ("finished/**/classifier.safetensors", "evaluate"),
        ("finished/**/classifier.safetensors", "export model"),
        ("finished/rounds/0001/synthetic/*.png", "export data"),
        ("stages/images-*/*", "export data"),
        ("stages/split-*/*", "export data"),
        ("stages/*/*", "synthesize"),
    ],
)
def test_what_a_command_reads_is_checked_first(  # type: ignore[no-untyped-def]
    copied: Path, tmp_path: Path, damage, pattern: str, command: str
) -> None:
    run, rng = copied / "finished", random.Random(7)
    arguments = commands(run, tmp_path)[command]
    champion = json.loads((run / "champion.json").read_text())["classifier"]
    roles = json.loads((run / "stages.json").read_text())
    read = {
        roles[f"foundation/{name}"]
        for name in ("images", "split", "embedder", "index", "vae", "denoiser", "judge")
    }
    for path in sorted(p for p in copied.glob(pattern) if p.is_file()):
        if pattern.startswith("finished/**") and path != run / champion:
            continue
        if pattern == "stages/*/*" and path.parent.name not in read:
            continue
        if path.suffix == ".png" and path.stem not in accepted(run):
            continue
        kept = path.read_bytes()
        if len(kept) < 2:
            continue
        damage(path, rng)
        try:
            if path.read_bytes() != kept:
                assert_one_line(invoke(arguments), path)
        finally:
            path.write_bytes(kept)


def accepted(run: Path) -> set[str]:
    import pandas as pd

    frame = pd.read_parquet(run / "rounds" / "0001" / "synthetic.parquet")
    return set(frame[frame["accepted"]]["sample_id"].head(3))


@pytest.mark.parametrize("damage", [truncate, empty, array])
def test_damaged_checksums_are_named(copied: Path, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    run = copied / "finished"
    kept = (run / PUBLISHED).read_bytes()
    damage(run / PUBLISHED, random.Random(1))
    assert_one_line(invoke(commands(run, tmp_path)["report"]), run / PUBLISHED)
    (run / PUBLISHED).write_bytes(kept)


def test_a_run_without_checksums_still_opens(copied: Path, tmp_path: Path) -> None:
    run = copied / "finished"
    kept = (run / PUBLISHED).read_bytes()
    (run / PUBLISHED).unlink()
    assert invoke(commands(run, tmp_path)["report"])[0] == 0
    (run / PUBLISHED).write_bytes(kept)
