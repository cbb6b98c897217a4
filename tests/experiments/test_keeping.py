"""What a result says of the code it was made with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import keeping

SAY = "from experiments.keeping import provenance; print(provenance('a command')['commit'])"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_only_changes_of_the_code_are_changes(tmp_path: Path) -> None:
    """A second result in the same clone is made by the same code as the first."""

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def said() -> str:
        return subprocess.run(
            [sys.executable, "-c", SAY], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    (tmp_path / "experiments/results/one").mkdir(parents=True)
    shutil.copy(keeping.__file__, tmp_path / "experiments/keeping.py")
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    result = tmp_path / "experiments/results/one/result.json"
    result.write_text("{}")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")
    commit = git("rev-parse", "--short", "HEAD")

    result.write_text('{"another": "figure"}')
    (tmp_path / "experiments/results/two.json").write_text("{}")
    assert said() == commit

    (tmp_path / "experiments/new.py").write_text("")
    assert said() == f"{commit} with changes"
