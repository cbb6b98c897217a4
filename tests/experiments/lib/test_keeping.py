"""What a result says of the code it was made with."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from engine.errors import ConfigError, DataError
from experiments import arms_full
from experiments.lib import keeping


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
        """Return the commit that a script of the clone gives; the module finds its clone by its own place."""
        path = tmp_path / "experiments/lib/keeping.py"
        spec = importlib.util.spec_from_file_location("keeping_of_the_clone", path)
        assert spec is not None and spec.loader is not None
        there = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(there)
        return str(there.provenance("a command")["commit"])

    (tmp_path / "experiments/results/one").mkdir(parents=True)
    (tmp_path / "experiments/lib").mkdir()
    (tmp_path / "experiments/lib/__init__.py").touch()
    shutil.copy(keeping.__file__, tmp_path / "experiments/lib/keeping.py")
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
    keeping.require_engine(began, "engine", what="the folds", root=tmp_path)
    (tmp_path / "engine/loop.py").write_text("mended")
    with pytest.raises(
        ConfigError,
        match=rf"the folds are scored with the engine of commit {began} \(engine/loop.py differs\): git worktree add",
    ):
        keeping.require_engine(began, "engine", what="the folds", root=tmp_path)
    with pytest.raises(ConfigError, match="this clone does not have it"):
        keeping.require_engine("1234567", "engine", what="the folds", root=tmp_path)


def test_what_a_user_can_mend_is_one_line_and_a_bug_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise DataError("data.root: nowhere does not exist; give data.root=FOLDER")

    with pytest.raises(SystemExit) as end:
        keeping.script(wrong)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: data.root: nowhere does not exist; give data.root=FOLDER\n"
    with pytest.raises(ZeroDivisionError):
        keeping.script(lambda: print(1 / 0))
    with pytest.raises(SystemExit) as end:
        keeping.script(lambda: None)
    assert end.value.code == 0


def test_every_script_ends_so() -> None:
    scripts = [p for p in keeping.EXPERIMENTS.rglob("*.py") if "__main__" in p.read_text()]
    scripts.remove(Path(keeping.__file__))  # it names a package's __main__.py
    assert len(scripts) > 10
    assert [p.name for p in scripts if not p.read_text().endswith("    script(main)\n")] == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/a/clone/experiments/guidance.py", "python -m experiments.guidance"),
        ("/a/clone/experiments/table1/__main__.py", "python -m experiments.table1"),
    ],
)
def test_a_result_says_its_command_without_places_of_this_machine(
    path: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sys.argv", [path, "run", "/here/tiny.yaml", "--with", "data.root=/here/ham10000", "a=1"]
    )
    assert keeping.this_command() == f"{said} run tiny.yaml --with data.root=.../ham10000 a=1"


def test_where_the_data_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARDCASE_DATA", raising=False)
    with pytest.raises(
        ConfigError, match="HARDCASE_DATA is not set; let it name the folder that holds ham10000/"
    ):
        keeping.data_root("ham10000")
    monkeypatch.setenv("HARDCASE_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="holds no folder ham10000/"):
        keeping.data_root("ham10000")
    (tmp_path / "ham10000").mkdir()
    assert keeping.data_root("ham10000") == tmp_path / "ham10000"


def test_a_fold_is_scored_with_the_frozen_engine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(commit: str, *paths: str, what: str) -> None:
        raise ConfigError(f"{what}: {commit} {' '.join(paths)}")

    config = keeping.EXPERIMENTS / "configs" / "arms_full_32.yaml"
    monkeypatch.setattr("sys.argv", ["arms_full", "run", str(config), "--fold", "2"])
    monkeypatch.setattr(arms_full, "require_frozen", lambda *_: None)
    monkeypatch.setattr(arms_full, "require_engine", refuse)
    with pytest.raises(ConfigError, match=f"the folds: {arms_full.FROZEN} engine policies"):
        arms_full.main()
