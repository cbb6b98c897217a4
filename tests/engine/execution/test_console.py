"""Names from data are printed as they are: no markup, no emoji codes, whatever they are printed with."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.table import Table
from typer.testing import CliRunner

import engine
from engine import cli
from engine.execution.console import plain_console
from tests.engine.data.layouts import ham_rows, write_ham
from tests.integration.tiny import tiny_tree

HOSTILE = ["[/b]", "[red]x", "[bold]nv[/bold]", ":smile:", "[link=file:///etc]a", "[", "\\[/]", "[@click=x]y"]


@pytest.mark.parametrize("name", HOSTILE)
def test_text_and_cells_are_printed_as_they_are(name: str) -> None:
    console = plain_console(file=io.StringIO(), width=200)
    table = Table(title=name, caption=name)
    table.add_column(name)
    table.add_row(name)
    console.print(name)
    console.print(f"skipped {name}", style="yellow")
    console.print(table)
    assert console.file.getvalue().count(name) == 6  # type: ignore[attr-defined]


def test_no_command_writes_markup_or_makes_a_console_of_its_own() -> None:
    root = Path(engine.__file__).parent
    for path in sorted(root.rglob("*.py")):
        text = path.read_text()
        if path.name != "console.py":
            assert not re.search(r"(?<![\w.])Console\((?!\))", text.replace("plain_console(", "")), path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"\[/?(dim|red|green|yellow|bold|cyan|/)\]", node.value), (
                    path,
                    node.lineno,
                )


def hostile_data(root: Path) -> Path:
    """HAM10000's layout with markup in classes, sites and lesion ids."""
    rows: pd.DataFrame = ham_rows(lesions=24, views=1)
    rows["dx"] = rows["dx"].map({"mel": "mel[/b]", "nv": "[red]nv"})
    rows["localization"] = "[/site]"
    rows["lesion_id"] = "[/" + rows["lesion_id"] + "]"
    write_ham(root, rows=rows)
    return root


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import yaml

    home = tmp_path_factory.mktemp("hostile")
    tree = tiny_tree(str(home / "runs"), name="tiny")
    split = {"train": 0.4, "mine": 0.2, "val": 0.2, "test": 0.2}
    tree["data"] = {"format": "ham10000", "root": str(hostile_data(home / "data[/b]")), "image_size": 16, "split": split,
                    "malignant": ["mel[/b]"]}  # fmt: skip
    path = home / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (["data", "describe"], ["mel[/b]", "[red]nv", "[/site]"]),
        (["data", "audit"], []),
        (["data", "split", "--out", "{0}/s.parquet"], []),
        (["data", "preview", "--out", "{0}/[/p].png"], ["[/p].png"]),
        (["doctor"], ["data[/b]"]),
    ],
)
def test_commands_print_hostile_names(
    config: Path, tmp_path: Path, command: list[str], printed: list[str]
) -> None:
    arguments = [part.format(tmp_path) for part in command]
    count = 1 if command[0] == "doctor" else 2
    arguments[count:count] = [str(config)]
    result = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"}).invoke(cli.app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert all(name in result.output for name in printed), result.output
    if command[0] != "doctor":
        assert result.exit_code == 0, result.output


def test_init_prints_hostile_names(config: Path, tmp_path: Path) -> None:
    arguments = ["init", str(config.parent / "data[/b]"), "--out", str(tmp_path / "[/c].yaml")]
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "mel[/b] 12" in result.output
    assert "[/c].yaml" in result.output


@pytest.mark.parametrize(
    "arguments",
    [["report", "[/b]"], ["compare", "[/b]", "[/i]"], ["predict", "[/b]", "[/i]", "--csv", "x"], ["run", "[/b]"],
     ["evaluate", "[/b]"], ["export", "data", "[/b]", "--out", "x"], ["synthesize", "[/b]", "--class", "[/c]", "--out", "x"],
     ["config", "explain", "[/b]"], ["init", "[/b]"], ["tune", "[/b]"]],
)  # fmt: skip
def test_errors_name_hostile_paths_as_they_are(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"}).invoke(cli.app, arguments)
    assert result.exit_code == 2, result.output
    assert "[/b]" in result.output
