"""What a result says of the code it was made with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from engine.errors import ConfigError
from experiments import keeping

SAY = "from experiments.keeping import provenance; print(provenance('a command')['commit'])"


def git_in(folder: Path, *arguments: str) -> str:
    """Run git in a folder as somebody, whatever the machine's settings; return what it printed."""
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_only_changes_of_the_code_are_changes(tmp_path: Path) -> None:
    """A second result in the same clone is made by the same code as the first."""

    git = partial(git_in, tmp_path)

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


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_study_goes_on_with_the_engine_it_began_with(tmp_path: Path) -> None:
    git = partial(git_in, tmp_path)

    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/loop.py").write_text("")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "the study begins")
    began = git("rev-parse", "--short", "HEAD")
    (tmp_path / "README.md").write_text("beside the engine")
    keeping.require_engine(began, "engine", root=tmp_path)
    (tmp_path / "engine/loop.py").write_text("mended")
    with pytest.raises(
        ConfigError, match=rf"engine of commit {began} \(engine/loop.py differs\): git worktree add"
    ):
        keeping.require_engine(began, "engine", root=tmp_path)
    with pytest.raises(ConfigError, match="this clone does not have it"):
        keeping.require_engine("1234567", "engine", root=tmp_path)
