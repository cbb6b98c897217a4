"""Says in words what values a key of the schema takes: `one of crop, stretch`, `a whole number >= 1, or null`."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

_WORDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    type(None): "null",
    Any: "anything",
}


def allowed_text(field: FieldInfo) -> str:
    """Return the type and bounds of a schema field in words."""
    return type_text(field.annotation) + _bounds(field.metadata)


def type_text(annotation: Any) -> str:
    """Return a type in words; literals list their values, unions join with "or"."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [
            m for extra in parts[1:] for m in (extra.metadata if isinstance(extra, FieldInfo) else [extra])
        ]
        return type_text(parts[0]) + _bounds(inner)
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(part) for part in parts)
    if origin is not None:
        return _container(origin, [type_text(part) for part in parts])
    return _WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _container(origin: Any, parts: Sequence[str]) -> str:
    if origin is dict:
        return f"mapping of {parts[0]} to {parts[1]}"
    return f"list of {len(parts)}, each a {parts[0]}" if origin is tuple else f"list of {parts[0]}"


def _bounds(metadata: Sequence[Any]) -> str:
    texts = []
    for item in metadata:
        match item:
            case annotated_types.Ge():
                texts.append(f">= {item.ge}")
            case annotated_types.Gt():
                texts.append(f"> {item.gt}")
            case annotated_types.Le():
                texts.append(f"<= {item.le}")
            case annotated_types.Lt():
                texts.append(f"< {item.lt}")
            case annotated_types.MinLen():
                texts.append(f"at least {item.min_length} entry")
            case _ if getattr(item, "pattern", None):
                texts.append(f"matching {item.pattern}")
    return " " + ", ".join(texts) if texts else ""
