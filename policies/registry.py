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

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.dataclasses import is_pydantic_dataclass, rebuild_dataclass

import policies
from engine.errors import ConfigError
from engine.types import RunFacts
from policies import declarations, fields
from policies.base import (
    KINDS,
    STRICT,
    AcceptancePolicy,
    BudgetPolicy,
    MiningPolicy,
    MixingPolicy,
    QueryPolicy,
    SelectionPolicy,
    StoppingPolicy,
)

P = TypeVar("P")

ENTRY_POINTS: Final = "hardcase.policies"
_POLICIES: Final[dict[tuple[str, str], type]] = {}


def register(kind: str, name: str) -> Callable[[type[P]], type[P]]:
    """Class decorator: make a frozen dataclass available as ``{name: <name>}`` under ``policy.<kind>``.

    The class may be pydantic's dataclass or a plain one; its parameters are checked under ``STRICT`` either way.
    Declarations of the Protocol that the class leaves out get the Protocol's value.

    Raises:
        ConfigError: unknown kind, no frozen dataclass, no method of the Protocol, a declaration of the wrong type, or
            the name is taken.
    """

    def add(policy: type[P]) -> type[P]:
        where = f"policy {policy.__module__}.{policy.__qualname__}"
        protocol = _protocol(kind)
        shape: Any = getattr(policy, "__dataclass_params__", None)
        if shape is None or not shape.frozen:
            raise ConfigError(f"{where}: no frozen dataclass; put @dataclass(frozen=True) below @register")
        for method in declarations.methods(protocol):
            if not callable(getattr(policy, method, None)):
                raise ConfigError(
                    f"{where}: not a policies.base.{protocol.__name__}; add its method {method}"
                )
        declarations.complete(policy, protocol)
        problems = list(declarations.class_problems(policy, protocol))
        if problems:
            raise ConfigError(f"{where}: {'; '.join(problems)}")
        holder = _POLICIES.get((kind, name), policy)
        if (holder.__module__, holder.__qualname__) != (policy.__module__, policy.__qualname__):
            taken = f"{holder.__module__}.{holder.__qualname__}"
            raise ConfigError(f"{where}: {kind} policy {name!r} is already {taken}; take another name")
        checked: type[P] = _checked(policy)
        _POLICIES[kind, name] = checked
        return checked

    return add


def _checked(policy: Any) -> Any:
    """Return the policy as a pydantic dataclass under STRICT; settings of its own pydantic config stay."""
    if not is_pydantic_dataclass(policy):
        kept = {name: getattr(policy, name) for name in ("__module__", "__qualname__", "__doc__")}
        # A frozen class cannot be made a dataclass a second time, so pydantic gets a subclass.
        subclass = type(policy.__name__, (policy,), kept)
        return pydantic_dataclass(subclass, frozen=True, config=STRICT)
    own: ConfigDict = getattr(policy, "__pydantic_config__", ConfigDict())
    if not STRICT.keys() <= own.keys():
        policy.__pydantic_config__ = STRICT | own
        rebuild_dataclass(policy, force=True)
    return policy


@functools.cache
def discover() -> None:
    """Import every module of this package and load the entry points of other packages, once per process.

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


def check(kind: str, spec: Mapping[str, Any], run: RunFacts | None = None) -> None:
    """Check a spec, and with ``run`` whether the policy can work in that run.

    Raises:
        ConfigError: lists every problem, each with its path below ``policy.<kind>``.
    """
    policy = _build(kind, spec)
    found = list(declarations.conflicts(policy, run)) if run is not None else []
    if found:
        raise ConfigError("\n  ".join(f"policy.{kind}: {spec['name']} {text}" for text in found))


@overload
def make(kind: Literal["mining"], spec: Mapping[str, Any]) -> MiningPolicy: ...
@overload
def make(kind: Literal["budget"], spec: Mapping[str, Any]) -> BudgetPolicy: ...
@overload
def make(kind: Literal["mixing"], spec: Mapping[str, Any]) -> MixingPolicy: ...
@overload
def make(kind: Literal["acceptance"], spec: Mapping[str, Any]) -> AcceptancePolicy: ...
@overload
def make(kind: Literal["selection"], spec: Mapping[str, Any]) -> SelectionPolicy: ...
@overload
def make(kind: Literal["query"], spec: Mapping[str, Any]) -> QueryPolicy: ...
@overload
def make(kind: Literal["stopping"], spec: Mapping[str, Any]) -> StoppingPolicy: ...
def make(kind: str, spec: Mapping[str, Any]) -> Any:
    """Return the policy a spec describes.

    Raises:
        ConfigError: as ``check``.
    """
    return _build(kind, spec)


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return ``{"doc", "where", "fields": {field: {"type", "default", "required", "bounds", "doc"}}}`` of one policy.

    ``where`` is the class, ``module.Name``.

    Raises:
        ConfigError: unknown kind or name.
    """
    if name not in names(kind):
        raise ConfigError(_unknown_name(kind, name, f"policy.{kind}.name"))
    policy = _POLICIES[kind, name]
    return {
        "doc": " ".join((policy.__doc__ or "").split()),
        "where": f"{policy.__module__}.{policy.__qualname__}",
        "fields": {known: fields.describe(field) for known, field in fields.parameters(policy).items()},
    }


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
    values, unusable = _values(policy, {k: v for k, v in spec.items() if k != "name"}, name, path, problems)
    made = None
    try:
        made = policy(**values)
    except ValidationError as error:
        for field, text in fields.explain(error, fields.parameters(policy), values, name):
            if field not in unusable:
                problems.append(f"{path}.{field}: {text}" if field else f"{path}: {text}")
    else:
        where = f"{path}: {name} ({policy.__module__}.{policy.__qualname__})"
        problems += [f"{where}: {text}" for text in declarations.problems(made, KINDS[kind])]
    return made if len(problems) == before else None


def _values(
    policy: type, given: Mapping[Any, Any], name: str, path: str, problems: list[str]
) -> tuple[dict[str, Any], set[str]]:
    """Return the values to make a policy with, and the parameters whose nested policies could not be made."""
    known = fields.parameters(policy)
    values: dict[str, Any] = {}
    unusable: set[str] = set()
    for field, value in given.items():
        if field not in known:
            problems.append(_unknown_field(known, str(field), name, path))
            continue
        kind = fields.nested_kind(known[field])
        values[field] = value if kind is None else _nested(kind, value, f"{path}.{field}", problems)
        if kind is not None and values[field] is None:
            unusable.add(field)
    return values, unusable


def _nested(kind: str, specs: Any, path: str, problems: list[str]) -> tuple[Any, ...] | None:
    """Return the policies of a list of specs, or None after adding what is wrong with it to ``problems``."""
    if not isinstance(specs, Sequence) or isinstance(specs, str) or not specs:
        problems.append(f"{path}: expected a list of {kind} policies, at least one, got {specs!r}")
        return None
    made = [_construct(kind, spec, f"{path}.{index}", problems) for index, spec in enumerate(specs)]
    return None if any(policy is None for policy in made) else tuple(made)


def _unknown_name(kind: str, name: Any, path: str) -> str:
    known = names(kind)
    if name is None:
        return f"{path}: missing; known {kind} policies: {', '.join(known)}"
    return f"{path}: unknown {kind} policy {name!r};{_closest(str(name), known)} known: {', '.join(known)}"


def _unknown_field(known: Mapping[str, Any], field: str, name: str, path: str) -> str:
    if not known:
        return f"{path}.{field}: unknown field; {name} has no fields, remove it"
    return f"{path}.{field}: unknown field;{_closest(field, known)} fields of {name}: {', '.join(known)}"


def _closest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" did you mean {close[0]}?" if close else ""
