"""experiments/README.md names every script, result and config; its commands and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.lib.keeping import EXPERIMENTS, RESULTS, ROOT

INDEX = EXPERIMENTS / "README.md"
PAGES = [INDEX, EXPERIMENTS / "PROTOCOL.md", *sorted(RESULTS.rglob("*.md"))]
COMMANDS = [*PAGES, *sorted((EXPERIMENTS / "configs").glob("*.yaml"))]
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
COMMAND = re.compile(r"python -m experiments\.(\w+)((?:[^`\n]|\\\n)*)")


def scripts() -> dict[str, list[Path]]:
    """Return {name after ``python -m experiments.``: its source files}."""
    alone = {p.stem: [p] for p in EXPERIMENTS.glob("*.py") if "__main__" in p.read_text(encoding="utf-8")}
    packages = {p.parent.name: sorted(p.parent.glob("*.py")) for p in EXPERIMENTS.glob("*/__main__.py")}
    return alone | packages


def links(page: Path) -> list[Path]:
    """Return the files and folders that a page links to."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [(page.parent / target).resolve() for target in found if "://" not in target]


def test_every_script_is_in_the_index() -> None:
    named = set(re.findall(r"experiments\.(\w+)", INDEX.read_text(encoding="utf-8")))
    assert len(scripts()) > 15
    assert set(scripts()) - named == set()


def test_every_result_is_in_the_index() -> None:
    linked = {path.parent for path in links(INDEX)}
    folders = {path.resolve() for path in RESULTS.iterdir() if path.is_dir()}
    assert len(folders) > 20
    assert {path.name for path in folders - linked} == set()


def test_every_config_is_in_the_index() -> None:
    configs = {path.resolve() for path in (EXPERIMENTS / "configs").glob("*.yaml")}
    assert {path.name for path in configs - set(links(INDEX))} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(EXPERIMENTS).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    assert [path.as_posix() for path in links(page) if not path.exists()] == []


@pytest.mark.parametrize("page", COMMANDS, ids=lambda p: p.relative_to(EXPERIMENTS).as_posix())
def test_commands_name_scripts_options_and_configs_that_exist(page: Path) -> None:
    shared = (EXPERIMENTS / "lib" / "keeping.py").read_text(encoding="utf-8")
    for name, arguments in COMMAND.findall(page.read_text(encoding="utf-8")):
        assert name in scripts(), f"{page.name}: python -m experiments.{name}"
        source = shared + "".join(path.read_text(encoding="utf-8") for path in scripts()[name])
        for option in re.findall(r"(?<=\s)--[a-z][a-z-]*", arguments):
            assert f'"{option}"' in source, f"{page.name}: experiments.{name} has no {option}"
        for config in re.findall(r"experiments/configs/\w+\.yaml", arguments):
            assert (ROOT / config).is_file(), f"{page.name}: {config}"


def test_no_result_is_larger_than_1_5_megabytes() -> None:
    large = {path.name: path.stat().st_size for path in RESULTS.rglob("*") if path.stat().st_size > 1_500_000}
    assert large == {}
