"""YAML text: what is wrong with it is one message with line and remedy; nothing is lost or misread."""

from __future__ import annotations

import datetime
import os
import re
import shlex
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.artifacts.yaml_text import ALIASED, _Loader, as_argument, dump_values, parse_yaml, yaml_key
from engine.config.loading import read_tree
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "loop: {rounds: 1}\nseed: 1\nloop: {budget: 5}\n",
            ["key loop is given twice", "lines 1 and 3", "keep one"],
        ),
        ("{rounds: 1, rounds: 2}", ["key rounds is given twice", "line 1"]),
        ("a:\n  b: 1\n  'b': 2\n", ["key b is given twice", "lines 2 and 3"]),
        ("a: {<<: {x: 1}, x: 2, x: 3}", ["key x is given twice"]),
        ("a: " + "[" * 1000, ["nested too deeply"]),
        ("{" * 1000, ["nested too deeply"]),
        ("{[1, 2]: 3}", ["line 1", "a key is a list or a mapping"]),
        ("a: 1\n? {b: 1}\n: 3", ["line 2", "a key is a list or a mapping"]),
        ("name: !!python/name:os.system x", ["YAML tags are not allowed", "line 1", "plain values"]),
        ("a: !mine x", ["YAML tags are not allowed"]),
        ("a: 1\nb: [", ["not valid YAML (line 2: expected the node content", "correct it"]),
        ("a: b: c", ["not valid YAML (line 1: mapping values are not allowed here)"]),
        ("a: {<<: 3}", ["not valid YAML", "line 1"]),
        ("a: \x00", ["not valid YAML"]),
        ("a: 0b_", ["cannot read", "quote it"]),
        ("a: !!int many", ["cannot read", "quote it"]),
        ("a: !!bool many", ["cannot read", "quote it"]),
        ("a: !!timestamp 2024-99-99", ["cannot read", "quote it"]),
        ("a: !!timestamp never", ["cannot read", "quote it"]),
    ],
)
def test_every_mistake_is_one_line_with_its_place_and_the_remedy(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "c.yaml")
    message = str(caught.value)
    assert message.startswith("c.yaml: ") and len(message.splitlines()) == 1
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E+2", -200.0),
        ("1.5e3", 1500.0),
        (".5e1", 5.0),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("e3", "e3"),
        ("2024-01-02", "2024-01-02"),
        ("2024-99-99", "2024-99-99"),
        ("2024-01-02 10:00:00", "2024-01-02 10:00:00"),
        ("007x", "007x"),
        ("a: &one {x: 1, y: 2}\nb: {<<: *one, y: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        (
            "a: {b: {c: &c {<<: &d {x: 1}, x: 2}}}\ne: {<<: *c, f: 1}",
            {"a": {"b": {"c": {"x": 2}}}, "e": {"x": 2, "f": 1}},
        ),
        ("a: {x: 1}\nb: {x: 1}", {"a": {"x": 1}, "b": {"x": 1}}),
    ],
)
def test_values_are_read_as_written(text: str, value: object) -> None:
    """By libyaml, and by PyYAML where that is missing."""
    assert parse_yaml(text, "c.yaml") == value
    assert yaml.load(text, Loader=_Loader) == value


@pytest.mark.parametrize(
    "value", ["1e-3", "1e3", ".5e1", "2024-01-02", "yes", "0", "", "null", "a: b", 1e-06, 3, None]
)
def test_what_is_dumped_is_read_back(value: object) -> None:
    assert parse_yaml(dump_values({"key": value}), "kept") == {"key": value}


def test_other_readers_of_a_dump_see_the_same_text() -> None:
    assert yaml.safe_load(dump_values({"a": "2024-01-02", "b": "1e3"})) == {"a": "2024-01-02", "b": "1e3"}
    assert yaml.safe_load("2024-01-02") == datetime.date(2024, 1, 2)


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("mel", "mel"),
        ("0", "0"),
        ("12", "12"),
        ("basal cell", "basal cell"),
        ("yes", '"yes"'),
        ("True", '"True"'),
        ("null", '"null"'),
        ("007", '"007"'),
        ("1.0", '"1.0"'),
        ("1e3", '"1e3"'),
        ("a: b", '"a: b"'),
        ("a, b", '"a, b"'),
        ("#1", '"#1"'),
        ("a}", '"a}"'),
        ('say "x"', 'say "x"'),
        ("", '""'),
    ],
)
def test_a_key_is_quoted_where_yaml_would_read_something_else(text: str, typed: str) -> None:
    assert yaml_key(text) == typed
    assert [str(key) for key in parse_yaml(f"{{{typed}: null}}", "advice")] == [text]


def test_an_argument_is_one_word_of_a_shell_and_reads_back_as_it_was() -> None:
    typed = as_argument("data.map_labels", {"SCC": "NAME", "it's 1": "null", "yes": "null"})
    (word,) = shlex.split(typed)
    key, _, value = word.partition("=")
    assert (key, parse_yaml(value, "")) == ("data.map_labels", {"SCC": "NAME", "it's 1": None, "yes": None})
    assert as_argument("data.map_labels", {"df": "null"}) == "'data.map_labels={df: null}'"


def doubling(lines: int, times: int) -> str:
    """Lines of lists, each of which names the one before it ``times`` times: times**lines values at the end."""
    rows = ["k0: &a0 [1]"]
    rows += [f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * times)}]" for n in range(1, lines + 1)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (doubling(40, 2), "line 12"),
        (doubling(9, 9), "line 5"),
        ("\n".join(["b: &b {x: 1}", *[f"k{n}: &k{n} {{<<: [{', '.join(['*b'] * 9000)}]}}" for n in range(2)]]), "line 2"),
        ("a: &a [*a]", "line 1: alias *a stands inside"),
        ("a: &a\n  b: {c: *a}", "line 2: alias *a stands inside"),
        ("\n".join("  " * n + f"k{n}:" for n in range(100)), "line 64: more than 64 levels"),
    ],
)  # fmt: skip
def test_aliases_and_levels_have_a_budget(text: str, line: str) -> None:
    started = time.process_time()
    with pytest.raises(ConfigError, match=re.escape(line)):
        parse_yaml(text, "c.yaml")
    assert time.process_time() - started < 2.0


@given(st.lists(st.lists(st.integers(0, 8), max_size=6), max_size=9))
@settings(max_examples=60, deadline=None)
def test_any_aliases_are_read_whole_or_refused(rows: list[list[int]]) -> None:
    """Row n is a list of aliases of rows before it (or of 1): its size is known."""
    text, sizes = ["k: &a0 [1]"], [2]
    for n, row in enumerate(rows, start=1):
        names = [min(name, n - 1) for name in row]
        text.append(f"k{n}: &a{n} [{', '.join(f'*a{name}' for name in names)}]")
        sizes.append(1 + sum(sizes[name] for name in names))
    spent = sum(size - 1 for size in sizes[1:])
    if spent > ALIASED:
        with pytest.raises(ConfigError, match="the aliases up to"):
            parse_yaml("\n".join(text), "c.yaml")
    else:
        assert parse_yaml("\n".join(text), "c.yaml").keys() == {"k", *(f"k{n}" for n in range(1, len(sizes)))}


def test_a_config_that_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    pipe, big = tmp_path / "pipe", tmp_path / "big.yaml"
    os.mkfifo(pipe)
    big.write_bytes(b"#" * 3_000_000)
    for path, what in (
        (pipe, "a pipe, socket or device"),
        (big, "3,000,000 bytes"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ConfigError, match=what):
            read_tree(path)
