"""Reads and writes ``accept.json``: how many images per round made and kept, and how often the judge agrees with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from engine.artifacts.json_record import JsonPart, JsonRecord


class ClassYield(JsonPart):
    """One class's images."""

    generated: int = Field(description="images made")
    accepted: int = Field(description="images that may train")
    agreement: float | None = Field(
        None, description="share that the judge takes for their class, before any gate"
    )
    val_recall: float | None = Field(None, description="the judge's recall on real val images of the class")
    per_parent: list[int] = Field(
        default_factory=list, description="images made of each parent, most first; since 0.3"
    )


class Memorized(JsonPart):
    """Images that come nearer to a train image than nearly all train lesions do to another, before any gate."""

    count: int = Field(description="images")
    rate: float | None = Field(description="their share; null without images")
    threshold: float = Field(description="cosine distance under which an image counts")
    percentile: int = Field(description="percentile of distances between train lesions that it is")


class AcceptFacts(JsonRecord):
    """What the gates did: ``accept.json``. Undefined figures are null."""

    FILE: ClassVar[str] = "accept.json"
    STAGES: ClassVar[tuple[str, ...]] = ("accept",)

    agreement: float | None = Field(
        None, description="share of ungated images that the judge takes for their class"
    )
    expected_agreement: float | None = Field(
        None, description="how often those who judge are right on real ones"
    )
    agreement_ratio: float | None = Field(None, description="agreement over expected_agreement")
    per_class: dict[str, ClassYield] = Field(description="the same per class, with counts")
    rejected: dict[str, int] = Field(default_factory=dict, description="images per gate that rejected them")
    classes: tuple[str, ...] = Field(
        (), description="class names, in the order of column judge_prob of synthetic.parquet; since 0.3"
    )
    memorized: Memorized | None = Field(None, description="images that may be copies; since 0.2")
    judge_temperature: float | None = Field(
        None, description="of the soft labels; judge.json has it; since 0.3"
    )
    judge_val: dict[str, Any] = Field(
        default_factory=dict, description="the judge's figures on real val images, from judge.json; since 0.3"
    )

    @property
    def generated(self) -> dict[str, int]:
        """Images made per class."""
        return {dx: figures.generated for dx, figures in self.per_class.items()}

    @property
    def per_parent(self) -> dict[str, list[int]]:
        """Images made of each parent, per class, most first."""
        return {dx: figures.per_parent for dx, figures in self.per_class.items()}

    @property
    def accepted(self) -> dict[str, int]:
        """Images accepted per class."""
        return {dx: figures.accepted for dx, figures in self.per_class.items()}


def read(folder: Path) -> AcceptFacts:
    """Read ``accept.json`` of a stage or of a run's round (DataError: absent, damaged, or a key is missing)."""
    return AcceptFacts.read(folder)


def write(facts: AcceptFacts, folder: Path) -> None:
    """Write ``accept.json``."""
    facts.write(folder)


def accepted_counts(folders: Iterable[Path]) -> dict[str, int]:
    """Return how many images per class the gates accepted in several folders together (DataError as ``read``)."""
    counts: dict[str, int] = {}
    for folder in folders:
        for dx, number in read(folder).accepted.items():
            counts[dx] = counts.get(dx, 0) + number
    return counts
