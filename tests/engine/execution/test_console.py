"""Names from data are printed as they are: no markup, no emoji codes, whatever they are printed with."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

import engine
from engine import cli
from engine.artifacts.secrets import masking_logger
from engine.artifacts.visible_text import visible
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


CONTROLS = ["\x1b[2J", "\x1b]0;title\x07", "a\rb", "\x9b31m", "a\u202eb", "\x08\x08", "bad\udcff"]


@pytest.mark.parametrize("name", CONTROLS)
def test_control_characters_are_shown_and_not_obeyed(name: str, caplog: pytest.LogCaptureFixture) -> None:
    console = plain_console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    table = Table(title=name, caption=name, box=None)
    table.add_column(name)
    table.add_row(name)
    table.add_row(Text(name))
    console.print(name)
    console.print(Text(f"skipped {name}"))
    console.print(table)
    masking_logger("hardcase.test").warning("skipped %s", name)
    for printed in (console.file.getvalue(), caplog.text):  # type: ignore[attr-defined]
        bare = re.sub(r"\x1b\[[\d;]*m", "", printed)  # the console's own colours
        assert visible(bare) == bare
    assert console.file.getvalue().count(visible(name)) >= 5  # type: ignore[attr-defined]


@given(st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_text_is_printed_whole_and_obeys_nothing(text: str) -> None:
    console = plain_console(file=io.StringIO(), width=1000)
    console.print(text, soft_wrap=True)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert visible(said) == said
    assert [line.split() for line in said.splitlines()] == [
        line.split() for line in f"{visible(text)}\n".splitlines()
    ]


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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose classes, sites, lesion ids and folders hold markup and escapes."""
    import yaml

    home = tmp_path_factory.mktemp("run")
    rows: pd.DataFrame = ham_rows(lesions=40, views=1)
    rows["dx"] = rows["dx"].map({"mel": "mel[/b]\x1b[2J", "nv": "[red]nv"})
    rows["localization"], rows["lesion_id"] = "[/site]", "[/" + rows["lesion_id"] + "]"
    write_ham(home / "data[/b]", rows=rows)
    tree = tiny_tree(str(home / "[red]runs"), loop={"rounds": 1, "budget": 8, "arms": ["real", "hard"]})
    tree["data"] = {"format": "ham10000", "root": str(home / "data[/b]"), "image_size": 16,
                    "split": tree["data"]["split"], "malignant": ["mel[/b]\x1b[2J"]}  # fmt: skip
    tree["search_space"] = {"policy.mining.name": ["margin", "entropy"]}
    (home / "c.yaml").write_text(yaml.safe_dump(tree))
    result = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"}).invoke(cli.app, ["run", str(home / "c.yaml")])
    assert result.exit_code == 0, (result.output, result.exception)
    return home / "[red]runs" / "tiny"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (["run", "{0}/../../c.yaml"], "[red]runs/tiny/report.html"),
        (["run", "{0}/../../c.yaml", "--dry-run"], ""),
        (["evaluate", "{0}", "data.format=ham10000", "data.root={0}/../../data[/b]"], "mel[/b]\\x1b[2J"),
        (["predict", "{0}", "{0}/../../data[/b]", "--csv", "{1}/[/p].csv"], "[/p].csv"),
        (["report", "{0}"], "[red]runs/tiny/report.html"),
        (["compare", "{0}", "{0}"], ""),
        (["power", "{0}", "{0}"], ""),
        (["synthesize", "{0}", "--class", "[red]nv", "--count", "2", "--out", "{1}/[/s]"], "2 images of [red]nv in"),
        (["synthesize", "{0}", "--class", "[/no]", "--count", "2", "--out", "{1}/[/t]"], "mel[/b]\\x1b[2J"),
        (["export", "data", "{0}", "--out", "{1}/[/e]"], "[/e]"),
        (["export", "model", "{0}", "--no-onnx", "--out", "{1}/[/m]"], "[/m]"),
        (["data", "audit", "{0}/../../c.yaml", "--out", "{1}/[/a]"], "[/a]"),
        (["config", "show", "{0}/../../c.yaml"], "[red]runs"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)  # fmt: skip
def test_every_command_on_a_run_prints_hostile_names(
    run: Path, tmp_path: Path, command: list[str], printed: str
) -> None:
    arguments = [part.format(run, tmp_path) for part in command]
    result = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"}).invoke(cli.app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "this is a bug" not in result.output
    assert printed in result.output, result.output
    assert visible(result.output) == result.output
    if printed and "[/no]" not in command:
        assert result.exit_code == 0, result.output
