"""A wrong key is named before anything heavy is imported, by whichever command reads the config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from pathlib import Path
from typer.testing import CliRunner
from engine import cli
Path("wrong.yaml").write_text("loop: {round: 3}\\n")
Path("bomb.yaml").write_text("search_space:\\n  a: &a [1,2,3,4,5,6,7,8,9]\\n" + "".join(
    f"  {new}: &{new} [{','.join(['*' + old] * 9)}]\\n" for old, new in zip("abcdefgh", "bcdefghi")))
for name in ("wrong.yaml", "bomb.yaml"):
    for command in ("run", "run --dry-run", "tune", "config show", "data describe", "data split", "data preview",
                    "data audit"):
        found = CliRunner().invoke(cli.app, [*command.split(), name])
        print(command, name, found.exit_code, "torch" in sys.modules, " ".join(found.output.split()))
"""


@pytest.mark.slow
def test_a_wrong_key_is_named_before_torch_is_imported(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    lines = found.stdout.splitlines()
    assert len(lines) == 16
    for line in lines:
        words = (
            "did you mean loop.rounds?"
            if "wrong.yaml 2 False" in line
            else "stand for more than 10,000 values"
        )
        assert ("wrong.yaml 2 False" in line or "bomb.yaml 2 False" in line) and words in line, line
