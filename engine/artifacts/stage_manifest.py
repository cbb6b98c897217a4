"""Reads and writes ``stage.json``: what a finished stage was computed from, and the checksum of each of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field

from engine.artifacts.json_record import JsonRecord, json_object
from engine.artifacts.json_text import parse_json
from engine.errors import DataError

FILE: Final = "stage.json"


class StageManifest(JsonRecord):
    """A finished stage: ``stage.json``."""

    FILE: ClassVar[str] = FILE
    STAGES: ClassVar[tuple[str, ...]] = ("every stage",)

    stage: str = Field("", description="name of the stage")
    version: int = Field(1, description="version of its code")
    params: dict[str, Any] = Field(default_factory=dict, description="the config it read")
    seed: int = Field(0, description="its seed")
    threads: int = Field(1, description="threads of torch")
    device: str = Field("cpu", description="device")
    precision: str = Field("float32", description="precision of training and inference")
    inputs: dict[str, str] = Field(
        default_factory=dict, description="role to the key of the stage that plays it"
    )
    key: str = Field("", description="hash of all of these")
    seconds: float = Field(description="how long it took")
    files: dict[str, str] = Field(description="file to its sha256")
    sizes: dict[str, int] = Field(default_factory=dict, description="file to its bytes; since 0.2")
    digest: str | None = Field(None, description="sha256 of all of these; since 0.2")

    def sealed(self) -> StageManifest:
        """Return the manifest with the checksum of its own content."""
        return self.model_copy(update={"digest": digest_of(self.to_json())})


def read(folder: Path) -> StageManifest:
    """Read ``stage.json`` (DataError: absent, damaged, or a key is missing)."""
    return StageManifest.read(folder)


def find(folder: Path) -> StageManifest | None:
    """Return the manifest, None where the stage is not finished or its manifest is damaged: it is computed again."""
    path = StageManifest.path(folder)
    try:
        return _sound(json_object(path), path)
    except DataError:
        return None


def of_bytes(data: bytes) -> StageManifest | None:
    """Return the manifest that an object store holds, None where it is damaged."""
    try:
        found = parse_json(data)
        return _sound(found, Path(FILE)) if isinstance(found, dict) else None
    except (ValueError, DataError):
        return None


def _sound(found: dict[str, Any], source: Path) -> StageManifest | None:
    """Return the manifest of a JSON object, None where it differs from its digest (DataError: a key is missing)."""
    manifest = StageManifest.of(found, source)
    kept = found.pop("digest", None)
    return manifest if kept is None or kept == digest_of(found) else None


def write(manifest: StageManifest, folder: Path) -> None:
    """Write ``stage.json``, the last file of a stage."""
    manifest.write(folder)


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the checksum of a manifest's content without its ``digest``."""
    plain = parse_json(json.dumps(content))  # keys as they are read back
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
