"""From a YAML file and key=value overrides to a validated Config; every error at once, with its dotted path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from engine.artifacts.plain_files import require_plain_file
from engine.artifacts.yaml_text import dump_values, parse_yaml
from engine.config.known_keys import hint
from engine.config.schema import Config
from engine.errors import ConfigError
from engine.types import RunFacts

LARGEST_CONFIG: Final = 2_000_000
"""Bytes of the largest file that is read as a config; a longer one is a table or an image given by mistake."""

LONGEST_SHOWN: Final = 200
"""Characters of a value that an error shows."""

PolicyCheck = Callable[[str, Mapping[str, Any], RunFacts | None], None]
"""Called with (kind, spec, facts of the run) for each policy; None where the rest of the config is invalid.

Raises ConfigError when the spec names no known policy or field, or when the policy cannot work in that run.
"""


def load_config(
    path: Path, overrides: Sequence[str] = (), *, check_policy: PolicyCheck | None = None
) -> Config:
    """Read ``path``, apply ``a.b=value`` overrides (values parsed as YAML) and validate.

    Raises:
        ConfigError: the file cannot be read or parsed, or any value is wrong; all problems in one message.
    """
    tree = read_tree(path)
    for override in overrides:
        apply_override(tree, override)
    return parse_config(tree, check_policy=check_policy, source=str(path))


def parse_config(
    tree: Mapping[str, Any], *, check_policy: PolicyCheck | None = None, source: str = "config"
) -> Config:
    """Validate a plain mapping; raises ConfigError listing every problem."""
    problems: list[str] = []
    config: Config | None = None
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        problems += [_describe(item) for item in error.errors()]
    if check_policy is not None:
        problems += _policy_problems(tree, config, check_policy)
    if problems:
        lines = "\n".join(f"  {line}" for line in problems)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError(f"{source}: {count}\n{lines}")
    assert config is not None
    return config


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one ``a.b.c=value`` in ``tree``; the value is parsed as YAML.

    Raises:
        ConfigError: no ``=``, an empty key, a value that is not YAML, or a path through something that is no section.
    """
    key, sign, text = override.partition("=")
    if not sign or not all(key.split(".")):
        raise ConfigError(
            f"override {override!r}: expected key=value with a dotted key, for example loop.rounds=3"
        )
    shown = f"override {shortened(repr(override))}"
    value = parse_yaml(text, shown) if text else None
    try:
        set_key(tree, key, value)
    except ConfigError as error:
        raise ConfigError(f"{shown}: {error}") from None


def set_key(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted ``key`` in ``tree``; sections on the way are made where missing.

    Raises:
        ConfigError: the path leads through something that is no section.
    """
    node = tree
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise ConfigError(f"{'.'.join(parents[: depth + 1])} is a value, not a section")
    node[last] = value


def dump_yaml(config: BaseModel) -> str:
    """Return the tree as YAML, keys in the schema's order; loading it gives an equal tree."""
    return dump_values(config.model_dump(mode="json"))


def read_tree(path: Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file, {} where it is empty; ConfigError where it has others or none."""
    try:
        require_plain_file(path, LARGEST_CONFIG)
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); give the path of a YAML config"
        ) from None
    tree = parse_yaml(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path}: expected keys and values at the top, found {type(tree).__name__}; write `key: value` lines"
        )
    return tree


def _policy_problems(tree: Mapping[str, Any], config: Config | None, check: PolicyCheck) -> list[str]:
    """Check each policy spec; looks at the raw tree when the rest of the config did not validate."""
    given = config.policy.model_dump() if config else tree.get("policy")
    run = (
        RunFacts(
            mine_from=config.loop.mine_from,
            generator=config.synthesis.generator,
            candidates=config.loop.candidates,
        )
        if config
        else None
    )
    problems = []
    for kind, spec in given.items() if isinstance(given, Mapping) else ():
        if kind in Config().policy.model_dump() and isinstance(spec, Mapping):
            try:
                check(kind, spec, run)
            except ConfigError as error:
                problems.append(str(error))
    return problems


def _describe(item: Any) -> str:
    """One line for one pydantic error: dotted path, what is wrong, the remedy."""
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown key; {hint(tuple(str(part) for part in item['loc']))}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{path}: {message}" if path else message
    return f"{path}: {message[0].lower()}{message[1:]}, got {shortened(repr(item['input']))}"


def shortened(text: str) -> str:
    """Return text of at most LONGEST_SHOWN characters: what was given may be a million long."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."
