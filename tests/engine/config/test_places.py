"""Paths in a config mean what they mean in a shell, or are refused with the remedy; every path key obeys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config import Config, parse_config
from engine.config.known_keys import all_keys
from engine.config.places import checked, expanded, expanded_address
from engine.errors import ConfigError

TREES: dict[str, dict[str, Any]] = {
    "data.root": {"data": {"format": "folder"}},
    "data.images": {"data": {"format": "isic", "root": "x"}},
    "data.unlabelled_images": {"data": {"format": "folder", "root": "x", "unlabelled": "keep"}},
    "output": {},
    "embedder.pretrained": {},
    "vae.pretrained": {},
    "denoiser.pretrained": {},
    "classifier.pretrained": {},
    "judge.pretrained": {},
    "evaluation.inception": {"evaluation": {"features": "inception"}},
    "tracking.uri": {},
    "backend.scratch": {},
}
"""Every key that names a path, and what must stand beside it."""
STAYS = ("data.", "embedder.", "vae.", "denoiser.", "classifier.", "judge.")
"""Keys whose ``~`` is kept, because readers expand it and their text is part of cache keys."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.delenv("NOWHERE", raising=False)


def _value(key: str, text: str) -> Any:
    tree = {section: dict(keys) for section, keys in TREES[key].items()}
    *sections, last = key.split(".")
    node: Any = tree
    for section in sections:
        node = node.setdefault(section, {})
    node[last] = text
    found: Any = parse_config(tree)
    for part in key.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("key", TREES)
def test_every_path_key_takes_variables_and_home(key: str) -> None:
    assert _value(key, "$SCRATCH/a/${SCRATCH}") == "/scratch/a//scratch"
    assert _value(key, "~/a") == ("~/a" if key.startswith(STAYS) else "/home/ann/a")
    for text, words in (
        (
            "$NOWHERE/a",
            f"{key}: $NOWHERE/a names the environment variable NOWHERE, which is not set here; set it",
        ),
        (
            "~nobody-x/a",
            f"{key}: ~nobody-x/a begins with ~ but ~nobody-x is nobody's home folder here; write the path",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            _value(key, text)
        assert words in str(caught.value)


def test_no_key_that_says_it_is_a_path_is_forgotten() -> None:
    words = ("folder", "file of", "a path", "tracking server", "pretrained")
    said = {
        key
        for key, field in all_keys().items()
        if any(word in f"{key} {field.description}" for word in words) and "str" in str(field.annotation)
    }
    assert said - {"data.columns.image", "name"} <= set(TREES)
    assert Config.model_fields["output"].default == "runs"


def test_what_exists_as_written_is_taken_as_written(tmp_path: Path) -> None:
    (tmp_path / "a$NOWHERE" / "b").mkdir(parents=True)
    (tmp_path / "~nobody-x").mkdir()
    assert expanded("a$NOWHERE/b") == "a$NOWHERE/b"
    assert expanded("a$NOWHERE/$SCRATCH") == "a$NOWHERE//scratch"
    assert expanded(f"{tmp_path}/a$NOWHERE/new") == f"{tmp_path}/a$NOWHERE/new"
    assert expanded("~nobody-x") == "~nobody-x"
    assert expanded("./~nobody-y/z") == "./~nobody-y/z"


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("sqlite:///~/m.db", "sqlite:////home/ann/m.db"),
        ("sqlite:///$SCRATCH/m.db", "sqlite:////scratch/m.db"),
        ("file://~/ml", "file:///home/ann/ml"),
        ("file:$SCRATCH/ml", "file:/scratch/ml"),
        ("~/ml", "/home/ann/ml"),
        ("http://ann:pa$word@host:5000/~ann", "http://ann:pa$word@host:5000/~ann"),
        ("databricks://x$y", "databricks://x$y"),
        ("sqlite:////tmp/a~b.db", "sqlite:////tmp/a~b.db"),
    ],
)
def test_only_paths_in_addresses_are_expanded(given: str, means: str) -> None:
    assert expanded_address(given) == means


def test_other_values_are_left_to_the_schema() -> None:
    assert checked(True) is True
    assert expanded(5) == 5
    assert expanded_address(None) is None
    assert checked("org/model") == "org/model"
    with pytest.raises(ConfigError, match="output: input should be a valid string, got 5"):
        parse_config({"output": 5})
