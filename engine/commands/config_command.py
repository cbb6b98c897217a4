"""`hardcase config explain [KEY]`: type, bounds, default and meaning of any key, read from the schema itself."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Protocol

import yaml
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from engine.commands.type_text import allowed_text
from engine.config import Config, Section
from engine.config.known_keys import all_keys, hint, section_at
from engine.errors import ConfigError


class PolicyCatalogue(Protocol):
    """What is asked of ``policies.registry``."""

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names registered for a kind."""
        ...

    def describe(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return ``{"doc", "fields": {field: {"type", "default", "doc", ...}}}``."""
        ...


def explain(key: str | None, console: Console, policies: PolicyCatalogue | None = None) -> None:
    """Print what a dotted key, a section, or (None) the whole tree means.

    ``policy.<kind>`` lists the known policies, ``policy.<kind>.<name>`` the parameters of one.

    Raises:
        ConfigError: no such key; names close ones.
    """
    path = tuple(part for part in (key or "").split(".") if part)
    if not path:
        _print_section((), Config, console)
        return
    if path[0] == "policy" and len(path) > 1 and path[1] in _policy_kinds():
        _explain_policy(path, console, _catalogue(policies))
        return
    section = section_at(path)
    if section is not None:
        _print_section(path, section, console)
        return
    parent = section_at(path[:-1])
    field = parent.model_fields.get(path[-1]) if parent is not None else None
    if field is None:
        raise ConfigError(f"{'.'.join(path)}: no such key; {hint(path)}")
    _print_key(".".join(path), field, console)


def default_text(value: Any) -> str:
    """Return a default as YAML on one line (``null``, ``true``, ``[16, 32]``)."""
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def bounds_text(bounds: Mapping[str, Any]) -> str:
    """Return the bounds of a parameter as ``, >= 0, < 1``; "" where it has none."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return "".join(f", {signs[name]} {value:g}" for name, value in bounds.items() if name in signs)


def _policy_kinds() -> tuple[str, ...]:
    section = section_at(("policy",))
    return tuple(section.model_fields) if section is not None else ()


def _catalogue(policies: PolicyCatalogue | None) -> PolicyCatalogue:
    if policies is not None:
        return policies
    from policies import registry

    return registry


def _print_section(path: tuple[str, ...], section: type[Section], console: Console) -> None:
    console.print(" ".join((section.__doc__ or "").split()), markup=False, highlight=False)
    table = Table(title=".".join(path) or "config", show_edge=False, pad_edge=False)
    for heading in ("key", "type", "default", "meaning"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "key")
    for name, field in section.model_fields.items():
        inner = section_at((*path, name))
        kind = "section" if inner is not None else allowed_text(field)
        default = "" if inner is not None else default_text(field.get_default())
        table.add_row(name, kind, default, field.description or "")
    console.print(table)
    example = ".".join((*path, next(iter(section.model_fields))))
    console.print(
        f"hardcase config explain {example}   says more about one key", markup=False, highlight=False
    )


def _print_key(key: str, field: FieldInfo, console: Console) -> None:
    for heading, text in (
        ("key", key),
        ("type", allowed_text(field)),
        ("default", default_text(field.get_default())),
        ("meaning", field.description or ""),
    ):
        console.print(f"{heading:8s} {text}", markup=False, highlight=False)


def _explain_policy(path: tuple[str, ...], console: Console, policies: PolicyCatalogue) -> None:
    """Print ``policy.<kind>`` with every policy, one of them, or one parameter wherever it occurs."""
    kind, rest = path[1], tuple(part for part in path[2:] if part != "name")
    described = {name: policies.describe(kind, name) for name in policies.names(kind)}
    wanted = described
    if not rest:
        _print_key(f"policy.{kind}", all_keys()[f"policy.{kind}"], console)
    elif rest[0] in described:
        wanted = {rest[0]: described[rest[0]]}
        rest = rest[1:]
    fields = {field for facts in wanted.values() for field in facts["fields"]}
    if len(rest) > 1 or (rest and rest[0] not in fields):
        known = [*described, *sorted(fields)]
        close = difflib.get_close_matches(rest[-1], known, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else f"known policies: {', '.join(described)}"
        raise ConfigError(f"{'.'.join(path)}: no such policy or parameter; {hint}")
    for name, facts in wanted.items():
        chosen = {k: v for k, v in facts["fields"].items() if not rest or k == rest[0]}
        if chosen or not rest:
            _print_policy(name, str(facts["doc"]), chosen, console)


def _print_policy(name: str, doc: str, fields: Mapping[str, Any], console: Console) -> None:
    console.print(f"\n{name}: {doc}", markup=False, highlight=False)
    for field, facts in fields.items():
        default = "required" if facts.get("required") else f"default {default_text(facts['default'])}"
        bounds = bounds_text(facts.get("bounds", {}))
        line = f"  {field} ({facts['type']}{bounds}, {default}): {facts['doc']}"
        console.print(line, markup=False, highlight=False)
