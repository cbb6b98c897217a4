"""Reads and writes ``champion.json``: the (round, arm) that val puts first."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from engine.artifacts.json_record import JsonRecord, json_value
from engine.artifacts.report_json import arm_today, schema_of
from engine.errors import DataError

FILE: Final = "champion.json"
REMEDY: Final = "remove it and rerun `hardcase run`, or give --round and --arm"
"""A run reads the file itself, so that a rerun alone does not help."""


class Champion(JsonRecord):
    """The champion of a run: ``champion.json``."""

    FILE: ClassVar[str] = FILE

    round: int = Field(description="its round")
    arm: str = Field(description="its arm")
    metric: str = Field("", description="the figure of val that chose it, as val/<name>")
    value: float | None = Field(None, description="that figure")
    low: float | None = Field(None, description="lower end of its 95 % interval")
    high: float | None = Field(None, description="upper end")
    classifier: str = Field("", description="its weights, relative to the run folder")
    after_round: int | None = Field(None, description="round after which it was crowned; since 0.2")

    @property
    def crowned_after(self) -> int:
        """Round after which it was crowned; its own in files of before 0.2."""
        return self.round if self.after_round is None else self.after_round


def read(run: Path) -> Champion:
    """Read a run's champion.

    Raises:
        DataError: the run crowned none, or the file names no round and arm.
    """
    path = Champion.path(run)
    if not path.is_file():
        raise DataError(f"{run}: the run has no champion yet; give --round and --arm, or let the run finish")
    found = json_value(path, REMEDY)
    named = isinstance(found, dict)
    if not named or type(found.get("round")) is not int or not isinstance(found.get("arm"), str):
        raise DataError(f"{path}: names no round and arm; {REMEDY}")
    champion = Champion.of(found, path)
    return champion.model_copy(update={"arm": arm_today(champion.arm, schema_of(run))})


def read_if_crowned(run: Path) -> Champion | None:
    """Return a run's champion, None where it crowned none (DataError as ``read`` where the file is damaged)."""
    return read(run) if Champion.present(run) else None


def write(champion: Champion, run: Path) -> None:
    """Write ``champion.json``."""
    champion.write(run)
