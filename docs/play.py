"""Plays docs/tutorial.md: runs its blocks in order, and writes what they print and draw into the page.

Run ``python -m docs.play`` after a change of what commands print; a minute on an idle core. A block of YAML with a title is
saved under it, lines of bash that begin with hardcase are commands, Python goes on in one session. The text block after
``<!-- output -->`` holds what the block before it printed, or what follows a heading (``<!-- output from: HEADING -->``).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

TUTORIAL: Final = Path(__file__).with_name("tutorial.md")
BLOCK: Final = re.compile(
    r"^```(?P<kind>yaml|bash|python)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$", re.M | re.S
)
OUTPUT: Final = re.compile(
    r"(<!-- output(?: from: (?P<start>[^>]+))? -->\n```text\n)(?P<text>.*?)(```)", re.S
)
PICTURE: Final = re.compile(r"<!-- picture: (?P<source>\S+) -->\n!\[[^\]]*\]\((?P<target>\S+)\)")
TIME: Final = re.compile(r"\d+ s in all")
COLUMNS: Final = 96
WIDEST: Final = 1000
"""Pixels of a picture."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A block and what it printed."""

    code: str
    printed: str


def main() -> None:
    """Play the tutorial in a folder that is removed again, and bring the page up to date."""
    text = TUTORIAL.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        played = list(play(text, Path(folder)))
        for match in PICTURE.finditer(text):
            save_picture(Path(folder) / match["source"], TUTORIAL.parent / match["target"])
    TUTORIAL.write_text(with_outputs(text, played), encoding="utf-8")


def play(text: str, folder: Path) -> Iterator[Played]:
    """Run every block of a page in ``folder``, in order (RuntimeError: a command failed; says what it printed)."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    with contextlib.chdir(folder):
        for block in BLOCK.finditer(text):
            if block["kind"] == "yaml":
                Path(block["title"]).write_text(block["code"], encoding="utf-8")
                continue
            run = _commands if block["kind"] == "bash" else _session
            yield Played(code=block["code"], printed=run(block["code"], names))


def with_outputs(text: str, played: list[Played]) -> str:
    """Return the page with what its blocks printed in the text blocks behind them."""
    printed = {block.code: block.printed for block in played}

    def replace(match: re.Match[str]) -> str:
        before = [block for block in BLOCK.finditer(text) if block.end() <= match.start()][-1]
        return f"{match[1]}{shown(printed[before['code']], match['start'])}{match[4]}"

    return OUTPUT.sub(replace, text)


def shown(printed: str, start: str | None) -> str:
    """Return an output from the line that holds ``start`` on, without seconds and the blanks at the ends of lines."""
    lines = [line.rstrip() for line in printed.strip("\n").splitlines() if not TIME.fullmatch(line.strip())]
    first = next((n for n, line in enumerate(lines) if start is not None and start in line), 0)
    return "".join(f"{line}\n" for line in lines[first:])


def save_picture(source: Path, target: Path) -> None:
    """Write a picture as small WebP."""
    target.parent.mkdir(exist_ok=True)
    picture = Image.open(source).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST))
    picture.save(target, quality=80, method=6)


def _commands(code: str, _: dict[str, Any]) -> str:
    from typer.testing import CliRunner

    from engine.cli import app

    printed = []
    for line in code.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "hardcase", line
        result = CliRunner(env={"COLUMNS": str(COLUMNS)}).invoke(app, arguments)
        if result.exit_code != 0:
            raise RuntimeError(f"{line}: exit code {result.exit_code}\n{result.output}")
        printed.append(result.output)
    return "".join(printed)


def _session(code: str, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, TUTORIAL.name, "exec"), names)
    return printed.getvalue()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
