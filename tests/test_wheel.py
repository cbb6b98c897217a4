"""The wheel holds all that runs need and nothing else, and names what it imports; it works alone, in an empty folder."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.engine.data.public_layouts import LAYOUTS

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "policies")
IMPORT = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
BROUGHT_BY = {
    "annotated-types": "pydantic", "pydantic-core": "pydantic", "markupsafe": "jinja2", "huggingface-hub": "transformers",
    "botocore": "s3fs", "aiobotocore": "s3fs", "fsspec": "s3fs",
}  # fmt: skip
"""Packages that come with a declared one, whose interface they are part of."""


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


def declared() -> dict[str, set[str]]:
    """The extra that each required package belongs to; "" for those that are always installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, set[str]] = {}
    for extra, lines in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        for line in lines:
            found.setdefault(canonicalize_name(Requirement(line).name), set()).add(extra)
    return found


def test_every_package_that_is_imported_is_declared_for_those_who_need_it() -> None:
    named = declared()
    distributions = packages_distributions()
    for path in [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]:
        for module in set(IMPORT.findall(path.read_text(encoding="utf-8"))) & set(distributions):
            names = {canonicalize_name(name) for name in distributions[module]} - {"hardcase"}
            wanted = {BROUGHT_BY.get(name, name) for name in names}
            extras = set().union(*(named.get(name, set()) for name in wanted))
            usable = {"", *(["export", "review"] if path.match("review/*") or "onnx" in module else [])}
            usable |= {"s3"} if path.match("store/*") else set()
            usable |= {"big"} if path.match("training/optimizers.py") else set()
            assert not names or extras & usable, (
                f"{path}: {module} is of {sorted(names)}, which is not declared"
            )


def test_readme_says_what_each_extra_is_for() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| extra | for |")[2].partition("\n\n")[0]
    rows = [row.partition("|")[2].partition("|")[0] for row in table.splitlines()]
    extras = {extra for names in declared().values() for extra in names} - {""}
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == extras


def newest_section() -> str:
    """The version of the newest release that the changelog describes."""
    found = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_newest_section_of_the_changelog_is_cited_and_a_tag_names_it() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == newest_section()
    call = ["git", "tag", "--points-at", "HEAD", "v[0-9]*"]
    tags = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert set(tags) <= {f"v{newest_section()}"}


def git(place: Path, *arguments: str) -> None:
    who = (
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@example.org",
        "-c",
        "tag.gpgSign=false",
        "-c",
        "commit.gpgSign=false",
    )
    subprocess.run(["git", *who, *arguments], cwd=place, check=True, capture_output=True)


def version_at(place: Path) -> str:
    """What a build in a folder calls its version."""
    call = [sys.executable, "-W", "ignore", "-m", "setuptools_scm"]
    done = subprocess.run(call, cwd=place, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_build_takes_its_version_from_the_newest_tag_of_a_release(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert version_at(tmp_path) == "0.0", "a copy without git"
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    assert version_at(tmp_path).startswith("0.1.dev1+g"), "no release yet"
    git(tmp_path, "tag", "v7.8.9")
    git(tmp_path, "tag", "table-2")
    assert version_at(tmp_path) == "7.8.9"
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "two")
    git(tmp_path, "tag", "study-3")
    assert version_at(tmp_path).startswith("7.8.10.dev1+g")


def test_a_zip_of_a_tag_knows_it(tmp_path: Path) -> None:
    for name in ("pyproject.toml", ".gitattributes", ".git_archival.txt"):
        shutil.copy(ROOT / name, tmp_path)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    git(tmp_path, "tag", "v7.8.9")
    git(tmp_path, "archive", "--output=all.zip", "HEAD")
    place = tmp_path.with_name("unpacked")
    shutil.unpack_archive(tmp_path / "all.zip", place)
    assert version_at(place) == "7.8.9"


@pytest.mark.slow
def test_the_wheel_names_version_command_and_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        commands = archive.read(f"{info}/entry_points.txt").decode()
    assert metadata["Version"] == info.removeprefix("hardcase-").removesuffix(".dist-info") == "0.0", (
        "built without git"
    )
    assert "hardcase = engine.cli:main" in commands
    assert set(metadata.get_all("Provides-Extra", [])) == {
        *("big", "cluster", "dev", "docs", "export", "review", "s3"),
    }
    (cluster,) = [
        line for line in metadata.get_all("Requires-Dist", []) if line.endswith('extra == "cluster"')
    ]
    assert Requirement(cluster).extras == {"default"}, (
        "the dashboard and the job API that README goes through"
    )


@pytest.mark.slow
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


@pytest.mark.slow
def test_from_the_wheel_alone_the_demo_is_planned_and_init_works_in_an_empty_folder(
    wheel: Path, tmp_path: Path
) -> None:
    place, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    code = (
        "import engine, sys; from engine import api; from engine.build import load; "
        "from engine.commands.run_command import DEMO; assert api.run; "
        f"assert engine.__file__.startswith({str(place)!r}), engine.__file__; print(load(DEMO, []).name)"
    )
    env = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, env=env, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "demo"), done.stderr
    LAYOUTS["long_class_folders"](empty / "lesions")
    command = [sys.executable, "-m", "engine.cli", "init", "lesions", "--out", "my.yaml"]
    done = subprocess.run(command, cwd=empty, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((empty / "my.yaml").read_text(encoding="utf-8"))["data"]["root"]
