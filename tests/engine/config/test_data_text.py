"""Text from data in YAML: read back as it was, and never more than one line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.artifacts.yaml_text import parse_yaml
from engine.config.data_text import flow_value, one_line

HOSTILE = [
    "a\nevaluation: {bootstrap: 1}", "a\r\nb", "a\x85b", "a\u2028b", "# c", "a # c", "a: b", "{a", "[a]", "'", '"', "&a",
    "*a", "!!int 1", "null", "yes", "1e3", "2020-01-01", "0x1f", "~", "", " a", "a ", "- a", "...", "---", "%", "@", "`",
    "\x1b[31m", "\ufeff", "\U0001f600", "a\\nb", "mel", "basal cell carcinoma", "?", "a,b", "=SUM(A1)", "<<", "\x7f",
]  # fmt: skip
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_read_back(text: str) -> None:
    assert parse_yaml(f"key: {flow_value(text)}", "") == {"key": text}


@settings(deadline=None)
@given(TEXT)
def test_any_text_is_read_back_as_value_key_and_item(text: str) -> None:
    value = {"map": {text: [text, None]}, "text": text}
    written = "".join(f"{key}: {flow_value(entry)}  # comment\n" for key, entry in value.items())
    assert len(written.splitlines()) == 2
    assert parse_yaml(written, "") == value


@settings(deadline=None)
@given(TEXT)
def test_a_comment_stays_in_its_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert parse_yaml(f"a: 1\n# {one_line(text)}\nb: 2\n", "") == {"a": 1, "b": 2}


@pytest.mark.parametrize(("value", "written"), [("mel", "mel"), ("/data/ham", "/data/ham"), ("a b", "a b"),
                         (1, "1"), (None, "null"), (True, "true"), (0.6, "0.6"),
                         (["mel", "1"], '[mel, "1"]'), ("é", '"é"')])  # fmt: skip
def test_what_needs_no_quotes_has_none(value: object, written: str) -> None:
    assert flow_value(value) == written
