"""What MkDocs does not do by itself: pages that lie outside docs/, and sections of README inside of pages.

A page links other files of the repository as they lie on the disk, so that links work in an editor, on a code host and on
the site. On the site docs/ is the root and everything else that a page links is below ``repository/``. The line
``<!-- README: Labels -->`` in a page stands for README's section of that heading, without its subsections: README stays
the only copy.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
README: Final = ROOT / "README.md"
ELSEWHERE: Final = "repository/"
SECTION: Final = re.compile(r"^<!-- README: (.+) -->$", re.MULTILINE)
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK: Final = re.compile(r"(\]\()([^)\s]+)(?=\))|(<img src=\")([^\"]+)(?=\")")
FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the pages in docs/, and whatever they link, directly or not."""
    of_the_theme = [file for file in files if not Path(str(file.abs_src_path)).is_relative_to(DOCS)]
    pages = [File.generated(config, _uri(path), abs_src_path=str(path)) for path in linked_files()]
    return Files([*of_the_theme, *pages])


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return a page's text with README's sections in it, and its links as they are on the site."""
    if page.file.abs_src_path is None:
        return markdown
    path = Path(page.file.abs_src_path)
    parts = re.split(SECTION, markdown)  # text, heading, text, heading, ...
    for index, part in enumerate(parts):
        inside, base = (section(part), README) if index % 2 else (part, path)
        parts[index] = with_site_links(inside, base, path)
    return "".join(parts)


@functools.cache
def readme_sections() -> dict[str, str]:
    """Return README's sections by heading, each with its heading and up to the next heading of any level."""
    text = README.read_text(encoding="utf-8")
    fences = [match.span() for match in FENCE.finditer(text)]
    headings = [m for m in HEADING.finditer(text) if not any(a < m.start() < b for a, b in fences)]
    ends = [match.start() for match in headings[1:]] + [len(text)]
    return {m[1]: text[m.start() : end].strip() for m, end in zip(headings, ends, strict=True)}


def section(heading: str) -> str:
    """Return one section of README (PluginError: it has none of that heading)."""
    if heading not in readme_sections():
        raise PluginError(
            f"README.md: no section {heading!r}; it has {', '.join(map(repr, readme_sections()))}"
        )
    return readme_sections()[heading]


@functools.cache
def pages_of_sections() -> dict[str, Path]:
    """Return the page that shows each of README's sections, by the anchor of the section's heading."""
    found = {}
    for page in sorted(DOCS.rglob("*.md")):
        for heading in SECTION.findall(page.read_text(encoding="utf-8")):
            found[anchor(heading)] = page
    return found


def anchor(heading: str) -> str:
    """Return the anchor that a code host gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def linked_files() -> list[Path]:
    """Return the pages in docs/, the site's own script and picture, and every file that pages link, sorted."""
    found: set[Path] = set()
    waiting = [
        *DOCS.rglob("*.md"),
        *(p for p in (DOCS / "site").iterdir() if p.suffix in (".css", ".js", ".svg")),
    ]
    while waiting:
        path = waiting.pop()
        if path in found or path == README:
            continue
        found.add(path)
        if path.suffix == ".md":
            waiting += _targets(path)
    return sorted(found)


def _targets(page: Path) -> Iterator[Path]:
    text = page.read_text(encoding="utf-8")
    sources = [(page, text), *((README, section(heading)) for heading in SECTION.findall(text))]
    for base, part in sources:
        for match in LINK.finditer(part):
            target = _file(match[2] or match[4], base)
            if target is not None:
                yield target


def _file(link: str, base: Path) -> Path | None:
    """Return the file of the repository that a link names; None: it names none, or a place in its own page."""
    name = link.partition("#")[0]
    if not name or "://" in name:
        return None
    path = Path(os.path.normpath(base.parent / name))
    return path if path.is_file() and path.is_relative_to(ROOT) else None


def _uri(path: Path) -> str:
    """Return a file's place on the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return ELSEWHERE + path.relative_to(ROOT).as_posix()


def with_site_links(text: str, base: Path, page: Path) -> str:
    """Return text that lies in the file ``base``, with its links as ``page`` has to give them."""

    def replace(match: re.Match[str]) -> str:
        link = match[2] or match[4]
        place = link.partition("#")[2]
        target = README if base == README and link.startswith("#") else _file(link, base)
        if target is None:
            return match[0]
        if target == README:
            target = _page_of_readme(place, base)
        uri = os.path.relpath(_uri(target), Path(_uri(page)).parent)
        return f"{match[1] or match[3]}{uri}{'#' + place if place else ''}"

    return LINK.sub(replace, text)


def _page_of_readme(place: str, base: Path) -> Path:
    if not place:
        return DOCS / "index.md"
    if place not in pages_of_sections():
        raise PluginError(
            f"{base.relative_to(ROOT)}: links README.md#{place}, a section that no page in docs/ shows; "
            "add `<!-- README: HEADING -->` to one"
        )
    return pages_of_sections()[place]
