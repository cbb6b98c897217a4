"""Writes text that comes from data into YAML: a value is quoted, a comment stays in its line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from engine.artifacts.yaml_text import parse_yaml
from engine.errors import ConfigError

_PLAIN: Final = re.compile(r"[A-Za-z0-9/](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")
"""What needs no quotes, unless YAML reads something else than text."""


def one_line(text: str) -> str:
    """Return text with every line break, control character and unpaired surrogate written as an escape (``\\n``)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def flow_value(value: Any) -> str:
    """Return a plain value as YAML on one line; ``parse_yaml`` gives it back, whatever its text holds."""
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow_value(k)}: {flow_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow_value(item) for item in value) + "]"
    return yaml.safe_dump(value).removesuffix("...\n").strip()


def _is_plain(text: str) -> bool:
    if not _PLAIN.fullmatch(text):
        return False
    try:
        read = parse_yaml(text, "")
    except ConfigError:
        return False
    return isinstance(read, str) and read == text


def _quoted(text: str) -> str:
    """Return text in double quotes, as PyYAML escapes it."""
    return yaml.safe_dump(text, default_style='"', width=math.inf, allow_unicode=True).strip()
