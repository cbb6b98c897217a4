"""A policy's parameters in words: what each may be, and what pydantic finds wrong with the values given."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from policies.base import KINDS

BOUNDS: Final[Mapping[str, str]] = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_BOUND_ERRORS: Final[Mapping[str, str]] = {
    "greater_than_equal": "ge",
    "greater_than": "gt",
    "less_than_equal": "le",
    "less_than": "lt",
}
_EXPECTED: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    types.NoneType: "null",
}
_RAISED: Final = ("value_error", "assertion_error")
"""Errors that a policy's own check raised, in its own words."""


def parameters(policy: Any) -> Mapping[str, FieldInfo]:
    """Return the parameters of a policy (a pydantic dataclass) by name, in the order they are declared."""
    fields: Mapping[str, FieldInfo] = policy.__pydantic_fields__
    return fields


def nested_kind(field: FieldInfo) -> str | None:
    """Return the kind of the policies a parameter lists (``tuple[AcceptancePolicy, ...]``); None for other parameters."""
    if get_origin(field.annotation) is not tuple:
        return None
    listed = get_args(field.annotation)[0]
    return next((kind for kind, protocol in KINDS.items() if protocol is listed), None)


def describe(field: FieldInfo) -> dict[str, Any]:
    """Return ``{"type", "default", "required", "bounds", "doc"}`` of a parameter."""
    options, metadata = _options(field.annotation)
    nested = nested_kind(field)
    bounds = [(key, getattr(item, key, None)) for item in (*field.metadata, *metadata) for key in BOUNDS]
    return {
        "type": f"list of {nested} policies" if nested else " | ".join(map(_type_name, options)),
        "default": None if field.is_required() else field.get_default(call_default_factory=True),
        "required": field.is_required(),
        "bounds": {key: bound for key, bound in bounds if bound is not None},
        "doc": field.description or "",
    }


def explain(
    error: ValidationError, known: Mapping[str, FieldInfo], given: Mapping[str, Any], name: str
) -> Iterator[tuple[str | None, str]]:
    """Yield (parameter, problem) for everything pydantic found wrong with ``given``; each parameter once.

    The parameter is None where the values do not fit together.
    """
    told: set[str] = set()
    for item in error.errors(include_url=False):
        if not item["loc"]:
            yield None, item["msg"].partition(", ")[2] if item["type"] in _RAISED else item["msg"]
            continue
        field = str(item["loc"][0])
        if field not in told:
            told.add(field)
            yield field, _problem(item, known[field], given.get(field), name)


def _problem(item: Any, field: FieldInfo, value: Any, name: str) -> str:
    options, _ = _options(field.annotation)
    if item["type"] == "missing" and len(item["loc"]) == 1:
        return f"required by {name}; {field.description or f'a {_type_name(options[0])}'}"
    if item["type"] in _BOUND_ERRORS and not any(isinstance(part, int) for part in item["loc"]):
        key = _BOUND_ERRORS[item["type"]]
        return f"{value!r} is out of bounds; it must be {BOUNDS[key]} {item['ctx'][key]:g}"
    if item["type"] in _RAISED:
        return str(item["msg"].partition(", ")[2])
    of_type = item["type"].endswith("_type") or item["type"] in ("literal_error", "finite_number")
    if of_type and all(option in _EXPECTED or get_origin(option) is Literal for option in options):
        return f"{value!r} is not {' or '.join(map(_expectation, options))}"
    inside = "".join(f"[{part}]" for part in item["loc"][1:])
    return f"{value!r} does not fit: {inside}{' ' if inside else ''}{item['msg'][0].lower()}{item['msg'][1:]}"


def _options(annotation: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split ``Annotated[int, Ge(1)] | None`` into its members (int, None) and their metadata (Ge(1),)."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        options, more = _options(inner)
        flat = [m for item in metadata for m in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return options, (*more, *flat)
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [_options(part) for part in get_args(annotation)]
        return tuple(o for options, _ in parts for o in options), tuple(m for _, more in parts for m in more)
    return (annotation,), ()


def _expectation(option: Any) -> str:
    if get_origin(option) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(option))
    return _EXPECTED[option]


def _type_name(option: Any) -> str:
    if option is types.NoneType:
        return "null"
    if get_origin(option) is Literal:
        return " | ".join(str(choice) for choice in get_args(option))
    return str(option) if get_args(option) else str(getattr(option, "__name__", option))
