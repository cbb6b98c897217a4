"""Bad input through the command line: one short error that names the field or file, exit 2, nothing half written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from engine import cli
from tests.engine.data.layouts import ham_rows, write_ham
from tests.integration.tiny import tiny_tree


def truncate(root: Path) -> None:
    path = root / "images" / "ISIC_0001.jpg"
    path.write_bytes(path.read_bytes()[:200])


def drop_column(root: Path) -> None:
    path = root / "HAM10000_metadata.csv"
    pd.read_csv(path).drop(columns="lesion_id").to_csv(path, index=False)


def climb(root: Path) -> None:
    path = root / "HAM10000_metadata.csv"
    frame = pd.read_csv(path)
    frame.loc[0, "image_id"] = "../../etc/passwd"
    frame.to_csv(path, index=False)


def empty(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def few_lesions(root: Path) -> None:
    write_ham(root, rows=ham_rows(lesions=4))


def run(tmp_path: Path, *overrides: str) -> Result:
    tree = tiny_tree(str(tmp_path / "out"))
    tree["data"] = {
        **tree["data"],
        "format": "ham10000",
        "root": str(tmp_path / "data"),
        "malignant": ["mel"],
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    return runner.invoke(cli.app, ["run", str(config), *overrides])


def left_over(tmp_path: Path) -> list[str]:
    """Stage folders that are neither finished nor checkpoints."""
    stages = tmp_path / "out" / "stages"
    return [
        p.name
        for p in stages.glob("*")
        if p.is_dir() and not (p / "stage.json").exists() and p.name != ".locks"
    ]


def assert_refused(result: Result, tmp_path: Path, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    message = result.stderr
    assert all(part in message for part in parts), message
    assert len(message.strip().splitlines()) <= 4, message
    assert "Traceback" not in message
    assert not [name for name in left_over(tmp_path) if not name.endswith(".checkpoint")]


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (drop_column, ["HAM10000_metadata.csv", "lesion_id"]),
        (lambda root: (root / "images" / "ISIC_0001.jpg").unlink(), ["ISIC_0001"]),
        (truncate, ["ISIC_0001", "on_bad_image"]),
        (climb, ["HAM10000_metadata.csv", "../../etc/passwd"]),
        (empty, ["data", "empty"]),
        (few_lesions, ["data.split", "4 parts", "class"]),
        (lambda root: (root / "HAM10000_metadata.csv").unlink(), ["HAM10000_metadata.csv"]),
    ],
    ids=["column", "absent image", "truncated", "traversal", "empty folder", "few lesions", "no metadata"],
)
def test_bad_data(tmp_path: Path, spoil: Callable[[Path], object], parts: list[str]) -> None:
    write_ham(tmp_path / "data", rows=ham_rows(lesions=16))
    if spoil is few_lesions:
        empty(tmp_path / "data")
    spoil(tmp_path / "data")
    assert_refused(run(tmp_path), tmp_path, *parts)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["loop.round=3"], ["loop.round", "did you mean loop.rounds?"]),
        (["loop.rounds=three"], ["loop.rounds", "'three'"]),
        (["policy.mining={name: magic}"], ["policy.mining", "magic", "misclassified", "entropy"]),
        (["data.split.train=0.9"], ["data.split", "lower"]),
        (["output=/dev/null/runs"], ["output", "not writable"]),
        (["backend.kind=ray", "backend.address=127.0.0.1:9"], ["backend.address", "does not answer"]),
        (["data.root=/nowhere/at/all"], ["data.root", "/nowhere/at/all"]),
        (["classifier.model=resnet1888"], ["classifier.model", "resnet1888", "resnet18"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and "=" in value[0] else "",
)
def test_bad_values(tmp_path: Path, overrides: list[str], parts: list[str]) -> None:
    write_ham(tmp_path / "data", rows=ham_rows(lesions=16))
    assert_refused(run(tmp_path, *overrides), tmp_path, *parts)


def test_yaml_tags(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("name: !!python/object/apply:os.system [ls]\n", encoding="utf-8")
    result = CliRunner().invoke(cli.app, ["run", str(path)])
    assert_refused(result, tmp_path, "config.yaml", "YAML tags")


def test_a_run_that_failed_gives_its_name_to_the_remedy(tmp_path: Path) -> None:
    write_ham(tmp_path / "data", rows=ham_rows(lesions=16))
    assert_refused(run(tmp_path, "data.split.folds={count: 20}"), tmp_path, "20 folds need one each")
    kept = (tmp_path / "out" / "tiny" / "config.yaml").read_text()
    assert_refused(run(tmp_path, "data.split.folds={count: 19}"), tmp_path, "19 folds need one each")
    assert (tmp_path / "out" / "tiny" / "config.yaml").read_text() != kept


def test_a_run_folder_of_another_config(tmp_path: Path) -> None:
    write_ham(tmp_path / "data", rows=ham_rows(lesions=4))
    assert run(tmp_path).exit_code == 2  # too few lesions
    (tmp_path / "out" / "tiny" / "rounds" / "0000").mkdir(parents=True)  # as if a round had been finished
    before = (tmp_path / "out" / "tiny" / "config.yaml").read_bytes()
    assert_refused(run(tmp_path, "loop.rounds=5"), tmp_path, "loop.rounds", "name=OTHER")
    assert (tmp_path / "out" / "tiny" / "config.yaml").read_bytes() == before


def test_skipped_images_are_counted(tmp_path: Path) -> None:
    write_ham(tmp_path / "data", rows=ham_rows(lesions=16))
    truncate(tmp_path / "data")
    runner = CliRunner(env={"COLUMNS": "200"})
    run(tmp_path, "output=/dev/null/runs")  # writes the config alone
    overrides = ["data.on_bad_image=skip", f"output={tmp_path / 'out'}"]
    result = runner.invoke(cli.app, ["data", "describe", str(tmp_path / "config.yaml"), *overrides])
    assert result.exit_code == 0, result.output
    assert "ISIC_0001" in result.output
