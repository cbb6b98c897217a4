"""YAML text: what is wrong with it is one message with line and remedy; nothing is lost or misread."""

from __future__ import annotations

import datetime
import shlex

import pytest
import yaml

from engine.config.yaml_text import as_argument, dump_values, parse_yaml, yaml_key
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
    assert parse_yaml(text, "c.yaml") == value


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
