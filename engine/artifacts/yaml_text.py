"""YAML text to plain values and back: whatever is wrong with it is one message, and no setting is lost or misread."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from engine.errors import ConfigError

_FLOAT: Final = "tag:yaml.org,2002:float"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_EXPONENT: Final = re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")
"""Numbers such as 1e-3, which YAML 1.1 takes for text unless they are written 1.0e-3."""
_EXPONENT_STARTS: Final = list("-+.0123456789")
ALIASED: Final = 10_000
"""Most values that all aliases of a text may stand for: ten lines of aliases of aliases can mean billions."""
NESTED: Final = 64
"""Deepest nesting of lists and mappings; the deepest config has 6 levels."""
LONGEST_NUMBER: Final = 64
"""Characters of the longest whole number; one of thousands of digits in hexadecimal cannot even be printed."""


class _Rules(Composer, SafeConstructor, Resolver):
    """Safe YAML in which a mapping has each key once, 1e-3 is a number and a date is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way to configure a loader)
        first: [(tag, pattern) for tag, pattern in known if tag != _TIMESTAMP]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    reader: Any
    """The loader of PyYAML that takes the text apart."""

    def __init__(self, stream: str) -> None:
        self.reader.__init__(self, stream)
        Composer.__init__(self)  # libyaml's loader has a composer of its own
        self._sizes: dict[int, int] = {}
        self._aliased = self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; ConfigError where aliases stand for more than ALIASED values, or it lies deeper than NESTED."""
        event: Any = self.peek_event()  # type: ignore[attr-defined]
        line = event.start_mark.line + 1
        self._depth += 1
        if self._depth > NESTED:
            raise ConfigError(
                f"nested too deeply to be a config (line {line}: more than {NESTED} levels); "
                "remove the brackets or the indentation that repeat"
            )
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            self._spend(event.anchor, self._sizes.get(id(node)), line)
        else:
            self._sizes[id(node)] = 1 + sum(self._sizes.get(id(child), 0) for child in _children(node))
        return node

    def _spend(self, anchor: str | None, size: int | None, line: int) -> None:
        """Count the values an alias stands for; ``size`` is None inside the very node that it names."""
        if size is None:
            raise ConfigError(
                f"line {line}: alias *{anchor} stands inside what it names; write the values out"
            )
        self._aliased += size
        if self._aliased > ALIASED:
            raise ConfigError(
                f"line {line}: the aliases up to *{anchor} stand for more than {ALIASED:,} values; write out the few "
                "that are meant"
            )

    def construct_yaml_int(self, node: Any) -> Any:
        """Return a whole number (ValueError: more than LONGEST_NUMBER characters)."""
        if len(node.value) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(node.value):,} characters, more than {LONGEST_NUMBER}")
        return super().construct_yaml_int(node)

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping as it is written, before ``<<`` adds to it; ConfigError where a key stands twice."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                where = f"line {line}" if lines[name] == line else f"lines {lines[name]} and {line}"
                raise ConfigError(f"key {key.value} is given twice, in {where}; keep one of them")
            lines[name] = line
        return node


class _Loader(_Rules, yaml.SafeLoader):
    """Reads in Python: slowly, and its messages are the better ones."""

    reader = yaml.SafeLoader


_Libyaml: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _FastLoader(_Rules, _Libyaml):  # type: ignore[misc]
    """Has libyaml read, where PyYAML was built with it: a fifth of the time."""

    reader = _Libyaml


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


class _Dumper(yaml.SafeDumper):
    """Quotes what ``_Loader`` would not read as text."""


_Rules.add_constructor("tag:yaml.org,2002:int", _Rules.construct_yaml_int)  # type: ignore[type-var]
for _reader_or_writer in (_Rules, _Dumper):
    _reader_or_writer.add_implicit_resolver(_FLOAT, _EXPONENT, _EXPONENT_STARTS)


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain values of YAML ``text``.

    Raises:
        ConfigError: it is not YAML, has tags, a key twice, a value that is none, or aliases that multiply; names ``where``,
            line and remedy.
    """
    try:
        return _load(text)
    except ConfigError as error:
        problem = str(error)
    except yaml.MarkedYAMLError as error:
        problem = _marked_problem(error)
    except yaml.YAMLError as error:
        problem = f"not valid YAML ({_one_line(error)}); correct it there"
    except RecursionError:
        problem = "nested too deeply to be a config; remove the brackets or the indentation that repeat"
    except (
        ValueError,
        LookupError,
        AttributeError,
    ) as error:  # of PyYAML's constructors: 0b_, !!bool x, !!timestamp x
        problem = f"holds a value that YAML cannot read ({_one_line(error)}); quote it if it is text"
    raise ConfigError(f"{where}: {problem}")


def _load(text: str) -> Any:
    """Read with libyaml; what it refuses is refused in the words of PyYAML."""
    try:
        return yaml.load(text, Loader=_FastLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, UnicodeEncodeError):
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)


def dump_values(tree: Mapping[str, Any]) -> str:
    """Return plain values as YAML, keys in their order; ``parse_yaml`` gives them back."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def yaml_key(text: str) -> str:
    """Return text as it is to be typed as a key between braces: quoted where YAML would read something else."""
    try:
        read = parse_yaml(f"{{{text}: null}}", "")
    except ConfigError:
        read = None
    keys = list(read) if isinstance(read, dict) else []
    plain = len(keys) == 1 and type(keys[0]) in (str, int) and str(keys[0]) == text and read[keys[0]] is None
    return text if plain else json.dumps(text, ensure_ascii=False)


def as_argument(key: str, entries: Mapping[str, str]) -> str:
    """Return ``key={name: value, ...}`` as a shell takes it: one quoted word, its names as ``yaml_key`` writes them."""
    inside = ", ".join(f"{yaml_key(name)}: {value}" for name, value in entries.items())
    return shlex.quote(f"{key}={{{inside}}}")


def _marked_problem(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}" if mark else "the text"
    said = str(error.problem or error.context)
    if said.startswith("could not determine a constructor"):
        return f"YAML tags are not allowed ({line}: {said}); use plain values"
    if said == "found unhashable key":
        return f"{line}: a key is a list or a mapping; a key must be text, quote it if it holds brackets"
    return f"not valid YAML ({line}: {said}); correct it there"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
