"""The site: it builds without a warning, loads nothing from elsewhere, and what its pages say to type parses."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer.main
import yaml
from mkdocs.exceptions import PluginError

from docs import play
from docs.site import hooks
from engine.cli import app
from engine.commands.config_command import explain
from engine.commands.init_command import init
from engine.commands.init_values import Machine
from engine.config import parse_config
from engine.config.loading import apply_override
from engine.execution.console import quiet_console
from policies import registry
from tests.engine.data.public_layouts import LAYOUTS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = typer.main.get_command(app)


def fenced(page: Path, *kinds: str) -> list[str]:
    return [code for kind, code in FENCE.findall(page.read_text(encoding="utf-8")) if kind in kinds]


def typed(page: Path) -> list[list[str]]:
    """The arguments of each call of hardcase: of a line in a code block, and of what the prose has in backticks.

    Where the prose only names a command, the call is for its help.
    """
    lines = [line for block in fenced(page, "", "bash") for line in block.replace("\\\n", " ").splitlines()]
    calls = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("hardcase ")]
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for text in re.findall(r"`hardcase ([^`]+)`", prose):
        words = shlex.split(text)
        calls.append([*words, "--help"] if words in NAMES else words)
    return calls


def names_of(group: Any, before: tuple[str, ...] = ()) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        yield [*before, name]
        if hasattr(command, "commands"):
            yield from names_of(command, (*before, name))


NAMES = list(names_of(COMMANDS))


def parse(call: list[str]) -> dict[str, Any]:
    """Parse as the command line does, and call nothing; return the command's parameters (ValueError: it does not parse)."""
    command, context, name, arguments = COMMANDS, None, "hardcase", list(call)
    while True:
        try:
            context = command.make_context(name, arguments, parent=context)
            if not hasattr(command, "commands"):
                return dict(context.params)
            name, command, arguments = command.resolve_command(
                context, [*context._protected_args, *context.args]
            )
        except Exception as error:
            raise ValueError(f"{' '.join(call)}: {type(error).__name__} {error}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_parses(page: Path) -> None:
    for call in typed(page):
        if call[-1] == "--help":
            continue
        given = parse(call)
        tree: dict[str, Any] = {}
        for override in given.get("overrides") or []:
            apply_override(tree, override)
        parse_config(tree, check_policy=registry.check, source=" ".join(call))
        if given.get("key", "KEY") not in ("KEY", None):
            explain(given["key"], quiet_console())


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("run my.yaml --dry", "NoSuchOption"),
        ("nothing at all", "UsageError"),
        ("data audit", "MissingParameter"),
        ("query RUN --out ask --count many", "BadParameter"),
    ],
)
def test_a_wrong_call_does_not_parse(call: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{call}: {wrong}"):
        parse(call.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_config_of_a_page_loads(page: Path) -> None:
    for block in fenced(page, "yaml"):
        tree = yaml.safe_load(block)
        data = tree.get("data", {})
        if data.get("format", "phantom") != "phantom":  # pages show the part of a config that they are about
            data.setdefault("root", "DIR")
        if data.get("format") == "table":
            data.setdefault("columns", {"image": "image", "label": "label"})
        parse_config(tree, check_policy=registry.check, source=f"{page.name}:\n{block}")


@pytest.mark.parametrize(
    ("page", "layout"),
    [
        ("ham10000", "kaggle_ham10000"),
        ("isic", "isic_2019"),
        ("folders", "long_class_folders"),
        ("table", "pad_ufes_20"),
    ],
)
def test_init_writes_what_a_page_shows(page: str, layout: str, tmp_path: Path) -> None:
    text = (DOCS / "data" / f"{page}.md").read_text(encoding="utf-8")
    shown = re.search(r"writes, among others:\n\n```yaml\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    LAYOUTS[layout](tmp_path / "data")
    init(tmp_path / "data", tmp_path / "c.yaml", quiet_console(), machine=Machine(cores=2, gpu=False))
    written = yaml.safe_load((tmp_path / "c.yaml").read_text(encoding="utf-8"))["data"]
    expected = yaml.safe_load(shown[1])["data"]
    assert {key: written[key] for key in expected} == expected


@pytest.mark.slow
def test_the_tutorial_plays(tmp_path: Path) -> None:
    """With fewer steps and lesions, no gate: each block prints what begins as on the page, and every picture is there."""
    text = play.TUTORIAL.read_text(encoding="utf-8")
    short = re.sub(r"steps: \d+", "steps: 4", text)
    short = short.replace("lesions: 240", "lesions: 120").replace(
        "tracking: {kind: none}", "tracking: {kind: none}\npolicy: {acceptance: {name: all}}"
    )
    assert "round_steps: 4," in short and "name: all" in short and "lesions: 120" in short
    played = list(play.play(short, tmp_path))
    for now, then in zip(
        play.OUTPUT.finditer(play.with_outputs(short, played)), play.OUTPUT.finditer(text), strict=True
    ):
        assert _first_word(now["text"]) == _first_word(then["text"]) != ""
    for match in play.PICTURE.finditer(text):
        assert (tmp_path / match["source"]).is_file()
        assert (DOCS / match["target"]).stat().st_size < 100_000


def _first_word(text: str) -> str:
    found = re.search(r"[A-Za-z]+", text)
    return found[0] if found else ""


def test_a_section_that_readme_lacks_is_named() -> None:
    with pytest.raises(PluginError, match=r"README.md: no section 'Nothing'; it has 'hardcase'"):
        hooks.section("Nothing")
    assert hooks.section("Commands").startswith("### Commands\n")


def test_links_are_those_of_the_site() -> None:
    here, readme = DOCS / "data" / "isic.md", ROOT / "README.md"
    links = (
        "[a](docs/results.md#does-it-help) [b](#labels) [c](LICENSE) [d](https://x.org) ![e](docs/loop.svg)"
    )
    assert hooks.with_site_links(links, readme, here) == (
        "[a](../results.md#does-it-help) [b](../labels.md#labels) [c](../repository/LICENSE) [d](https://x.org) "
        "![e](../loop.svg)"
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; a warning ends it."""
    os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder


class Links(HTMLParser):
    """What a page loads by itself, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.headings = 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.headings += tag == "h1"
        if tag == "a":
            self.linked.append(given.get("href") or "")
        elif given.get("rel") != "canonical":
            self.loaded += [text for name in ("src", "href", "srcset") if (text := given.get(name))]


@pytest.mark.slow
def test_the_site_builds_and_is_whole(site: Path) -> None:
    """No warning; nothing is loaded from elsewhere; every link leads to a file; README's sections are in their pages."""
    for page in site.rglob("*.html"):
        links, name = Links(page), page.relative_to(site)
        if name.name == "404.html":  # its links are those of a server's root
            continue
        assert links.headings > 0, name
        for link in links.loaded:
            assert not urlsplit(link).netloc, f"{name} loads {link}"
        for link in (*links.loaded, *links.linked):
            path = unquote(urlsplit(link).path)
            if path and not urlsplit(link).scheme:
                assert (page.parent / path).exists(), f"{name}: {link}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), (
            style
        )
    index = (site / "index.html").read_text(encoding="utf-8")
    assert "make demo" in index and "README:" not in index
    assert "Apply a run's classifier to photographs" in (site / "api.html").read_text(encoding="utf-8")
    assert "IFrameWorker" in (site / "site" / "iframe-worker.js").read_text(encoding="utf-8")
    assert "typical_then_uncertain" in (site / "search" / "search_index.js").read_text(encoding="utf-8")
