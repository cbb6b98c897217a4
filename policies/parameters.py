"""A policy's YAML parameters: declared as dataclass fields by ``param``, checked when a policy is made."""

from __future__ import annotations

import dataclasses
import math
import operator
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

REQUIRED: Final[Any] = dataclasses.MISSING
"""Default of a parameter that YAML must give."""

BOUNDS: Final[Mapping[str, tuple[str, Callable[[float, float], bool]]]] = {
    "ge": ("at least", operator.ge),
    "gt": ("above", operator.gt),
    "le": ("at most", operator.le),
    "lt": ("below", operator.lt),
}
_SCALARS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


def param(
    default: T,
    doc: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    of: str | None = None,
) -> T:
    """Declare a parameter of a policy.

    Args:
        default: value when YAML does not give one; REQUIRED where it must.
        doc: one line on what it does, shown by ``hardcase config explain policy``.
        ge: least value allowed.
        gt: bound the value must be above.
        le: largest value allowed.
        lt: bound the value must be below.
        of: kind of the policies this parameter is a list of (a conjunction's ``of``); annotate it
            ``tuple[SomePolicy, ...]``.
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    metadata = {"doc": doc, "bounds": {k: v for k, v in bounds.items() if v is not None}, "of": of}
    declared: Any = dataclasses.field(default=default, metadata=metadata)
    field: T = declared
    return field


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a policy class, as its dataclass field and annotation declare it."""

    name: str
    options: tuple[Any, ...]
    default: Any
    doc: str
    bounds: Mapping[str, float]
    of: str | None

    @property
    def required(self) -> bool:
        """Whether YAML must give a value."""
        return self.default is dataclasses.MISSING

    @property
    def type_text(self) -> str:
        """The type as shown to a user: ``int | null``, ``list of acceptance policies``."""
        if self.of is not None:
            return f"list of {self.of} policies"
        return " | ".join(_type_name(option) for option in self.options)

    def convert(self, value: Any) -> Any:
        """Return ``value`` as the declared type.

        Raises:
            ValueError: wrong type or out of bounds; the message gives the value and what is allowed.
        """
        converted = _first_match(self.options, value)
        if converted is dataclasses.MISSING:
            raise ValueError(f"{value!r} is not {self._expected()}")
        for key, bound in self.bounds.items():
            words, holds = BOUNDS[key]
            if isinstance(converted, int | float) and not holds(converted, bound):
                raise ValueError(f"{value!r} is out of bounds; it must be {words} {bound:g}")
        return converted

    def _expected(self) -> str:
        return " or ".join(_expectation(option) for option in self.options)


def parameters(policy: type) -> dict[str, Parameter]:
    """Return the parameters of a policy dataclass by name, in the order they are declared."""
    hints = get_type_hints(policy)
    return {
        field.name: Parameter(
            name=field.name,
            options=_options(hints[field.name]),
            default=field.default,
            doc=str(field.metadata.get("doc", "")),
            bounds=field.metadata.get("bounds", {}),
            of=field.metadata.get("of"),
        )
        for field in dataclasses.fields(policy)
    }


def _options(annotation: Any) -> tuple[Any, ...]:
    """Split ``int | None`` into its members."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _first_match(options: tuple[Any, ...], value: Any) -> Any:
    """Return ``value`` converted to the first option it fits, MISSING when it fits none."""
    for option in options:
        if option is type(None) and value is None:
            return None
        if get_origin(option) is Literal and isinstance(value, str) and value in get_args(option):
            return value
        if option in (bool, str, int) and type(value) is option:
            return value
        if option is float and type(value) in (int, float) and math.isfinite(value):
            return float(value)
    return dataclasses.MISSING


def _expectation(option: Any) -> str:
    if option is type(None):
        return "null"
    if get_origin(option) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(option))
    return _SCALARS.get(option, "a value of its type")


def _type_name(option: Any) -> str:
    if option is type(None):
        return "null"
    if get_origin(option) is Literal:
        return " | ".join(str(choice) for choice in get_args(option))
    return str(getattr(option, "__name__", option))
