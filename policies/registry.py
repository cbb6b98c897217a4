"""Policies by kind and name: registration, validation of YAML specs, and construction.

A spec is what YAML holds under ``policy.<kind>``: ``{"name": "margin", "top_k": 64}``. Other packages add
policies through the entry point group ``hardcase.policies`` (a module that registers when imported, or a function
that registers when called); YAML never holds an import path.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final, Literal, TypeVar, overload

import policies
from engine.errors import ConfigError
from policies.base import AcceptancePolicy, BudgetPolicy, MiningPolicy, MixingPolicy, StoppingPolicy
from policies.parameters import Parameter, parameters

P = TypeVar("P")

ENTRY_POINTS: Final = "hardcase.policies"
KINDS: Final[Mapping[str, type]] = {
    "mining": MiningPolicy,
    "budget": BudgetPolicy,
    "mixing": MixingPolicy,
    "acceptance": AcceptancePolicy,
    "stopping": StoppingPolicy,
}
_POLICIES: Final[dict[tuple[str, str], type]] = {}


def register(kind: str, name: str) -> Callable[[type[P]], type[P]]:
    """Class decorator: make a frozen dataclass available as ``{name: <name>}`` under ``policy.<kind>``.

    Raises:
        ConfigError: unknown kind, no frozen dataclass, no method of the Protocol, or the name is taken.
    """

    def add(policy: type[P]) -> type[P]:
        where = f"policy {policy.__module__}.{policy.__qualname__}"
        protocol = _protocol(kind)
        shape: Any = getattr(policy, "__dataclass_params__", None)
        if shape is None or not shape.frozen:
            raise ConfigError(f"{where}: no frozen dataclass; put @dataclass(frozen=True) below @register")
        if not issubclass(policy, protocol):
            raise ConfigError(f"{where}: not a policies.base.{protocol.__name__}; add its method")
        holder = _POLICIES.setdefault((kind, name), policy)
        if (holder.__module__, holder.__qualname__) != (policy.__module__, policy.__qualname__):
            taken = f"{holder.__module__}.{holder.__qualname__}"
            raise ConfigError(f"{where}: {kind} policy {name!r} is already {taken}; take another name")
        _POLICIES[kind, name] = policy
        return policy

    return add


@functools.cache
def discover() -> None:
    """Import every module of this package and load the entry points of other packages, once a process.

    Raises:
        ConfigError: an entry point cannot be loaded; names it, its value and the cause.
    """
    for module in pkgutil.iter_modules(policies.__path__, "policies."):
        importlib.import_module(module.name)
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda found: (found.name, found.value)):
        try:
            loaded = entry.load()
            if callable(loaded) and not isinstance(loaded, type):
                loaded()
        except Exception as error:
            raise ConfigError(
                f"entry point {entry.name} = {entry.value} of group {ENTRY_POINTS} cannot be loaded "
                f"({type(error).__name__}: {error}); repair or uninstall the package that declares it"
            ) from error


def names(kind: str) -> tuple[str, ...]:
    """Return the names registered for a kind, sorted."""
    _protocol(kind)
    discover()
    return tuple(sorted(name for known, name in _POLICIES if known == kind))


def check(kind: str, spec: Mapping[str, Any]) -> None:
    """Raise ConfigError with every problem of ``spec``, each with its path below ``policy.<kind>``."""
    _build(kind, spec)


@overload
def make(kind: Literal["mining"], spec: Mapping[str, Any]) -> MiningPolicy: ...
@overload
def make(kind: Literal["budget"], spec: Mapping[str, Any]) -> BudgetPolicy: ...
@overload
def make(kind: Literal["mixing"], spec: Mapping[str, Any]) -> MixingPolicy: ...
@overload
def make(kind: Literal["acceptance"], spec: Mapping[str, Any]) -> AcceptancePolicy: ...
@overload
def make(kind: Literal["stopping"], spec: Mapping[str, Any]) -> StoppingPolicy: ...
def make(kind: str, spec: Mapping[str, Any]) -> Any:
    """Return the policy a spec describes.

    Raises:
        ConfigError: as ``check``.
    """
    return _build(kind, spec)


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return ``{"doc", "fields": {field: {"type", "default", "required", "bounds", "doc"}}}`` of one policy.

    Raises:
        ConfigError: unknown kind or name.
    """
    if name not in names(kind):
        raise ConfigError(_unknown_name(kind, name, f"policy.{kind}.name"))
    policy = _POLICIES[kind, name]
    fields = {
        known.name: {
            "type": known.type_text,
            "default": None if known.required else known.default,
            "required": known.required,
            "bounds": dict(known.bounds),
            "doc": known.doc,
        }
        for known in parameters(policy).values()
    }
    return {"doc": " ".join((policy.__doc__ or "").split()), "fields": fields}


def _protocol(kind: str) -> type:
    if kind not in KINDS:
        raise ConfigError(f"policy.{kind}: unknown kind of policy; known kinds: {', '.join(KINDS)}")
    return KINDS[kind]


def _build(kind: str, spec: Mapping[str, Any]) -> Any:
    names(kind)
    problems: list[str] = []
    policy = _construct(kind, spec, f"policy.{kind}", problems)
    if problems:
        raise ConfigError("\n  ".join(problems))
    return policy


def _construct(kind: str, spec: Any, path: str, problems: list[str]) -> Any:
    """Return the policy of ``spec``, or None after adding what is wrong with it to ``problems``."""
    if not isinstance(spec, Mapping):
        problems.append(f"{path}: expected {{name: ..., parameter: ...}}, got {spec!r}")
        return None
    name = spec.get("name")
    if not isinstance(name, str) or name not in names(kind):
        problems.append(_unknown_name(kind, name, f"{path}.name"))
        return None
    policy = _POLICIES[kind, name]
    before = len(problems)
    values = _values(parameters(policy), {k: v for k, v in spec.items() if k != "name"}, name, path, problems)
    if len(problems) > before:
        return None
    try:
        return policy(**values)
    except ValueError as error:
        problems.append(f"{path}: {error}")
        return None


def _values(
    known: Mapping[str, Parameter], given: Mapping[Any, Any], name: str, path: str, problems: list[str]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, value in given.items():
        parameter = known.get(field)
        if parameter is None:
            problems.append(_unknown_field(known, str(field), name, path))
        elif parameter.of is not None:
            values[field] = _nested(parameter.of, value, f"{path}.{field}", problems)
        else:
            try:
                values[field] = parameter.convert(value)
            except ValueError as error:
                problems.append(f"{path}.{field}: {error}")
    for missing in (p for p in known.values() if p.required and p.name not in given):
        problems.append(f"{path}.{missing.name}: required by {name}; {missing.doc}")
    return values


def _nested(kind: str, specs: Any, path: str, problems: list[str]) -> tuple[Any, ...]:
    if not isinstance(specs, Sequence) or isinstance(specs, str) or not specs:
        problems.append(f"{path}: expected a list of {kind} policies, at least one, got {specs!r}")
        return ()
    return tuple(_construct(kind, spec, f"{path}.{index}", problems) for index, spec in enumerate(specs))


def _unknown_name(kind: str, name: Any, path: str) -> str:
    known = names(kind)
    if name is None:
        return f"{path}: missing; known {kind} policies: {', '.join(known)}"
    return f"{path}: unknown {kind} policy {name!r};{_closest(str(name), known)} known: {', '.join(known)}"


def _unknown_field(known: Mapping[str, Parameter], field: str, name: str, path: str) -> str:
    if not known:
        return f"{path}.{field}: unknown field; {name} has no fields, remove it"
    return f"{path}.{field}: unknown field;{_closest(field, known)} fields of {name}: {', '.join(known)}"


def _closest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" did you mean {close[0]}?" if close else ""
