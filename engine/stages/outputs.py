"""What a stage writes: each file's name, what it holds, and its columns or keys, for docs/stages.md and its checks.

A file with a schema is declared in ``engine.artifacts``; weights, FAISS indexes and pictures are a ``File`` or a ``Folder``.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from dataclasses import dataclass

from engine.artifacts.json_record import JsonPart, JsonRecord
from engine.artifacts.schema import ArraySchema, TableSchema


@dataclass(frozen=True)
class File:
    """A file without columns or keys; ``<...>`` in its name stands for one file each (``fold_<k>.safetensors``)."""

    name: str
    meaning: str


@dataclass(frozen=True)
class Folder:
    """A folder that another package lays out, such as a model in the Hugging Face layout."""

    name: str
    meaning: str


Output = TableSchema | ArraySchema | type[JsonRecord] | File | Folder


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A column of a table or a key of a JSON file.

    ``kind`` is what a column's cell holds, "" for a key; ``note`` says since when or in which files it is there.
    """

    name: str
    kind: str
    meaning: str
    note: str = ""


def file_name(output: Output) -> str:
    """Return the name of the file in the stage's folder; a folder's ends in a slash."""
    if isinstance(output, Folder):
        return f"{output.name}/"
    if isinstance(output, File):
        return output.name
    return output.FILE if isinstance(output, type) else output.file


def meaning(output: Output) -> str:
    """Return what the file holds, in one line."""
    if isinstance(output, TableSchema):
        return f"one row: {output.row}"
    if isinstance(output, ArraySchema):
        return f"{output.shape} {output.dtype}: {output.meaning}"
    if isinstance(output, File | Folder):
        return output.meaning
    first = inspect.cleandoc(output.__doc__ or "").partition("\n")[0]
    return first.replace(f": ``{output.FILE}``", "")


def entries(output: Output) -> tuple[Entry, ...]:
    """Return a table's columns or a JSON file's keys, in their order; () for what has neither."""
    if isinstance(output, TableSchema):
        return tuple(
            Entry(name=c.name, kind=c.kind, meaning=c.meaning, note=_note(c.since, c.only))
            for c in output.columns
        )
    return tuple(_keys(output, "")) if isinstance(output, type) else ()


def _note(since: str, only: str) -> str:
    return "; ".join([f"since {since}"] * bool(since) + [f"only: {only}"] * bool(only))


def _keys(record: type[JsonPart], under: str) -> Iterator[Entry]:
    """Yield a record's keys; of an object in it as ``memorized.count``, of one per class as ``per_class.<dx>.n``."""
    for name, field in record.model_fields.items():
        yield Entry(name=f"{under}{name}", kind="", meaning=field.description or "")
        for part, one_per_key in _parts(field.annotation):
            yield from _keys(part, f"{under}{name}.{'<dx>.' if one_per_key else ''}")


def _parts(annotation: object) -> Iterator[tuple[type[JsonPart], bool]]:
    """Yield the objects that a key holds, and whether it holds one per class."""
    if inspect.isclass(annotation) and issubclass(annotation, JsonPart):
        yield annotation, False
    for argument in typing.get_args(annotation):
        for part, one_per_key in _parts(argument):
            yield part, one_per_key or typing.get_origin(annotation) is dict
