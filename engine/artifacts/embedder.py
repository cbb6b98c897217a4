"""Reads and writes ``embedder.json``: which CLIP embeds the lesions, and at which levels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from engine.artifacts.json_record import JsonRecord

MODEL: Final = "clip"
"""Folder of the model in the Hugging Face layout."""


class EmbedderFacts(JsonRecord):
    """The embedder as trained or loaded: ``embedder.json``."""

    FILE: ClassVar[str] = "embedder.json"
    STAGES: ClassVar[tuple[str, ...]] = ("embedder",)
    INDENT: ClassVar[int | None] = 2
    NAN: ClassVar[bool] = True

    pretrained: str | None = Field(description="hub id or folder it was loaded from; null: trained here")
    levels: tuple[int, ...] = Field(description="layers that are embedded, lowest first")
    width: int = Field(description="entries of one level's embedding")
    text: bool = Field(description="whether it has a text tower, for prompts")
    tokens: str = Field(description="cls or patches: what an embedding is taken from")
    losses: tuple[float, ...] = Field(description="training loss per step; empty where loaded")


def read(folder: Path) -> EmbedderFacts:
    """Read ``embedder.json`` (DataError: absent, damaged, or a key is missing)."""
    return EmbedderFacts.read(folder)


def write(facts: EmbedderFacts, folder: Path) -> None:
    """Write ``embedder.json``."""
    facts.write(folder)
