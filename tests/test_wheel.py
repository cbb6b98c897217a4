"""The wheel holds all that runs need and nothing else; from it alone, in an empty folder, the demo's config is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "policies")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, as `pip wheel` does without a network."""
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "experiments/configs"):
        shutil.copytree(
            ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("wheel")
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(target)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (found,) = target.glob("*.whl")
    return found


def test_every_file_of_the_packages_is_in_it_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == expected


def test_from_the_wheel_alone_the_demo_is_planned_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    place, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    code = (
        "import engine, sys; from engine.build import load; from engine.commands.run_command import DEMO; "
        f"assert engine.__file__.startswith({str(place)!r}), engine.__file__; print(load(DEMO, []).name)"
    )
    env = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, env=env, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "demo"), done.stderr
