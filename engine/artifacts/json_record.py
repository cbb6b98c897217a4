"""Base of the records that are JSON files of ours: fields described, checked on reading, written as they always were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.artifacts.json_text import parse_json
from engine.artifacts.schema import REMEDY
from engine.artifacts.whole_files import write_text
from engine.errors import DataError


class JsonPart(BaseModel):
    """An object inside a JSON file; keys that it does not declare (another version's) are kept as they are.

    A field with a default came later, or is in some files only: what was not set is not written.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", protected_namespaces=())

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON object: what was set, or read, in the order of the fields."""
        found: dict[str, Any] = _plain(self.model_dump(exclude_unset=True))
        return found


class JsonRecord(JsonPart):
    """A JSON file; ``FILE`` is its name, ``STAGES`` write it, the rest says how its text is laid out."""

    FILE: ClassVar[str]
    STAGES: ClassVar[tuple[str, ...]] = ()
    INDENT: ClassVar[int | None] = 1
    SORTED: ClassVar[bool] = False
    NEWLINE: ClassVar[bool] = True
    NAN: ClassVar[bool] = False
    """Whether a figure may be NaN or infinite; elsewhere undefined is null."""

    @classmethod
    def path(cls, folder: Path) -> Path:
        """Where the file lies in a folder that holds it."""
        return folder / cls.FILE

    @classmethod
    def present(cls, folder: Path) -> bool:
        """Whether the folder holds the file, readable or not."""
        return cls.path(folder).is_file()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the file of a folder.

        Raises:
            DataError: it is absent, no JSON, or lacks a key; names the file, the key and the remedy.
        """
        path = cls.path(folder)
        return cls.of(json_object(path), path)

    @classmethod
    def of(cls, found: Mapping[str, Any], source: Path) -> Self:
        """Check a JSON object that ``source`` holds (DataError as ``read``)."""
        try:
            return cls.model_validate_json(json.dumps(found))
        except RecursionError:  # within what the parser takes, and beyond what the writer does
            raise DataError(f"{source}: its brackets are nested too deeply; {REMEDY}") from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            what = f"lacks {key}" if first["type"] == "missing" else f"{key}: {first['msg']}"
            raise DataError(f"{source}: {what}; {REMEDY}") from None

    def file_text(self) -> str:
        """Return the file's text."""
        text = json.dumps(self.to_json(), indent=self.INDENT, sort_keys=self.SORTED, allow_nan=self.NAN)
        return text + "\n" if self.NEWLINE else text

    def content(self) -> dict[str, Any]:
        """Return the JSON object as the file holds it: keys are sorted where the file sorts them."""
        found: dict[str, Any] = parse_json(self.file_text())
        return found

    def write(self, folder: Path) -> None:
        """Write the file into a folder, whole or not at all (ValueError: a figure is NaN where none may be)."""
        write_text(self.path(folder), self.file_text())


def json_value(path: Path, remedy: str = REMEDY) -> Any:
    """Return what a JSON file holds (DataError with ``remedy``: it is absent or no JSON)."""
    if not path.is_file():
        raise DataError(f"{path}: is missing; {remedy}")
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no valid JSON ({' '.join(str(error).split())}); {remedy}") from None


def json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file (DataError: it is absent, no JSON, or no object)."""
    found = json_value(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no JSON object; {REMEDY}")
    return found


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
