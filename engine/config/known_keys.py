"""Every dotted key of the config tree, and the ones that somebody may have meant by a key that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final, get_args

from pydantic.fields import FieldInfo

from engine.config.schema import Config
from engine.config.sections import Section

MOST: Final = 8
"""Keys that a hint names at most."""
OWN_FIRST: Final = 0.1
"""By how much a word of another section must be more alike to be preferred to one of the same section."""


@cache
def all_keys() -> Mapping[str, FieldInfo]:
    """Return every dotted key of the tree with its schema field, sections included, in the schema's order."""
    return MappingProxyType(dict(_walk((), Config)))


def section_at(path: tuple[str, ...]) -> type[Section] | None:
    """Return the Section class at a dotted path, or None where the path is a value or unknown."""
    section: type[Section] = Config
    for part in path:
        field = section.model_fields.get(part)
        if field is None:
            return None
        options = [field.annotation, *get_args(field.annotation)]
        found = next((o for o in options if isinstance(o, type) and issubclass(o, Section)), None)
        if found is None:
            return None
        section = found
    return section


def hint(path: tuple[str, ...]) -> str:
    """Say which keys of the whole tree a wrong one may mean, else which ones there are."""
    close = meant(path)
    if close:
        return f"did you mean {' or '.join(close)}?"
    section = section_at(path[:-1])
    if section is None or section is Config:
        return f"sections: {', '.join(Config.model_fields)}"
    return f"known keys: {', '.join(sorted(section.model_fields))}"


def meant(path: tuple[str, ...]) -> list[str]:
    """Return dotted keys like ``path``: its last word in another section, else a like word in its own, then anywhere."""
    last, ends = path[-1], _ends()
    dotted = ".".join(path)
    if last in ends:
        like = [difflib.SequenceMatcher(None, dotted, key).ratio() for key in ends[last]]
        return [key for _, key in sorted(zip(like, ends[last], strict=True), key=lambda pair: -pair[0])][
            :MOST
        ]
    section = section_at(path[:-1])
    own = difflib.get_close_matches(last, sorted(section.model_fields) if section else [], n=2)
    elsewhere = difflib.get_close_matches(last, ends, n=1, cutoff=0.7)
    if own and _likeness(last, own) > _likeness(last, elsewhere) - OWN_FIRST:
        return [".".join((*path[:-1], name)) for name in own]
    spelled = difflib.get_close_matches(dotted, list(all_keys()), n=2, cutoff=0.8)
    alike = [key for end in difflib.get_close_matches(last, ends, n=2, cutoff=0.7) for key in ends[end]]
    return list(dict.fromkeys([*alike, *spelled]))[:MOST]


def _likeness(word: str, close: list[str]) -> float:
    """How alike the closest word is, 0 to 1; 0 where there is none."""
    return difflib.SequenceMatcher(None, close[0], word).ratio() if close else 0.0


@cache
def _ends() -> dict[str, tuple[str, ...]]:
    """The dotted keys by their last part."""
    ends: dict[str, tuple[str, ...]] = {}
    for key in all_keys():
        last = key.rpartition(".")[2]
        ends[last] = (*ends.get(last, ()), key)
    return ends


def _walk(path: tuple[str, ...], section: type[Section]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        yield ".".join((*path, name)), field
        inner = section_at((*path, name))
        if inner is not None:
            yield from _walk((*path, name), inner)
