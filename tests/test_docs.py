"""Generated pages follow the code, README keeps its width, links in the documents resolve."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import write
from docs.policies_page import policies_page
from engine.arms import ARMS
from engine.stages import NAMES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "experiments/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
REMEDY = "run `python -m docs.write`"


def test_the_page_of_stages_is_up_to_date() -> None:
    assert write.STAGES.read_text(encoding="utf-8") == write.stages_page(), REMEDY


def test_the_page_of_policies_is_up_to_date() -> None:
    assert write.POLICIES.read_text(encoding="utf-8") == policies_page(), REMEDY


def test_the_table_of_arms_is_up_to_date() -> None:
    page = write.README.read_text(encoding="utf-8")
    assert page == write.with_arms(page), REMEDY
    assert all(f"| `{name}` |" in page for name in ARMS)


def test_every_stage_has_its_section() -> None:
    page = write.stages_page()
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == list(NAMES)


def test_no_line_of_the_readme_is_too_long() -> None:
    long = [n for n, line in enumerate(write.README.read_text("utf-8").splitlines(), 1) if len(line) > 120]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []


def test_tables_hold_no_escaped_bars() -> None:
    """The site prints the backslash of one inside of code."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = [
        (page.name, code)
        for page in pages
        for code in re.findall(r"`[^`\n]*\\\|[^`\n]*`", page.read_text("utf-8"))
    ]
    assert shown == []
