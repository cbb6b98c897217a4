"""Writes docs/policies.md from the registry: every policy with its parameters, its docstring and its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.commands.config_command import bounds_text, default_text
from engine.config import Config
from engine.config.known_keys import all_keys
from policies import registry
from policies.base import KINDS

HEAD = """# Policies

Written by `python -m docs.write` from the registry; do not edit. A policy makes one decision of a round. It is chosen in the
config by its name, beside which its parameters stand:

```yaml
policy:
  mining: {name: margin, top_k: 32}
  budget: {name: class_balanced}
```

A parameter that is left out has its default. `hardcase config explain policy.mining` prints the same,
`hardcase config explain policy.mining.margin` one policy. A parameter or name that does not exist is refused, with those
that do. The text of each policy names its source, a paper or "ours". [CONTRIBUTING.md](../CONTRIBUTING.md#add-a-policy)
shows how to add one, also from a package of your own.
"""

Facts = Mapping[str, Any]


def policies_page() -> str:
    """Return docs/policies.md."""
    rows = [
        f"| [`{kind}`](#{kind}) | {_decides(kind)} | `{_default(kind)}` | {_links(kind)} |" for kind in KINDS
    ]
    overview = ["| `policy.` | decides | default | policies |", "|---|---|---|---|", *rows]
    return "\n".join([HEAD, *overview, "", *(line for kind in KINDS for line in _kind(kind))]).rstrip() + "\n"


def _kind(kind: str) -> Iterator[str]:
    described = {name: registry.describe(kind, name) for name in registry.names(kind)}
    shared = _shared(described)
    yield from (f"## {kind}", "", f"{_sentence(_decides(kind))} The default is `{_default(kind)}`.", "")
    if shared:
        yield from ("Parameters of all of them, unless one says otherwise:", "", *_table(shared), "")
    for name, facts in described.items():
        yield from (f"### {kind}: {name}", "", facts["doc"].replace("``", "`"), "")
        own = {field: value for field, value in facts["fields"].items() if shared.get(field) != value}
        if own:
            yield from (*_table(own), "")
        yield from (f"Code: `{facts['where']}`", "")


def _shared(described: Mapping[str, Facts]) -> dict[str, Facts]:
    """Return the parameters that all policies of a kind have; of a default that differs, the commonest."""
    every = [facts["fields"] for facts in described.values()]
    names = [name for name in every[0] if all(name in fields for fields in every)]
    return {name: max(values, key=values.count) for name in names if (values := [f[name] for f in every])}


def _table(fields: Mapping[str, Facts]) -> Iterator[str]:
    yield from ("| parameter | type | default | meaning |", "|---|---|---|---|")
    for name, facts in fields.items():
        default = "required" if facts["required"] else f"`{default_text(facts['default'])}`"
        kind = f"{facts['type']}{bounds_text(facts['bounds'])}".replace(" | ", " or ")
        yield f"| `{name}` | {kind} | {default} | {facts['doc']} |"


def _decides(kind: str) -> str:
    return all_keys()[f"policy.{kind}"].description or ""


def _default(kind: str) -> str:
    return str(getattr(Config().policy, kind)["name"])


def _links(kind: str) -> str:
    return ", ".join(f"[{name}](#{kind}-{name})" for name in registry.names(kind))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
