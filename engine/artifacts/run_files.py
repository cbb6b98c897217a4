"""What report.html is made of: the files of a run folder, each optional but report.json."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image, UnidentifiedImageError

from engine.errors import DataError


@dataclass(frozen=True, kw_only=True)
class RoundFiles:
    """The folder of one round; a table is None where its file is missing."""

    number: int
    folder: Path
    hard_cases: pd.DataFrame | None
    neighbours: pd.DataFrame | None
    synthetic: pd.DataFrame | None
    accept: Mapping[str, Any] | None
    fidelity: Mapping[str, Any] | None = None
    predictions: pd.DataFrame | None


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """A run folder as read; ``config`` is {} and ``config_text`` "" without config.yaml."""

    path: Path
    report: Mapping[str, Any]
    config: Mapping[str, Any]
    config_text: str
    split: pd.DataFrame | None
    rounds: tuple[RoundFiles, ...]

    def round(self, number: int) -> RoundFiles | None:
        """Return the folder of a round, None where it is missing."""
        return next((entry for entry in self.rounds if entry.number == number), None)


def read_report(run: Path) -> dict[str, Any]:
    """Return report.json's object of a run folder.

    Raises:
        DataError: it is missing or broken; names the file and what to do.
    """
    path = run / "report.json"
    if not path.is_file():
        raise DataError(f"{path}: missing; the run has not finished a round yet, or this is no run folder")
    report = _json(path)
    rounds = report.get("rounds") if isinstance(report, dict) else None
    if not isinstance(rounds, list) or not all(
        isinstance(r, dict) and {"round", "arm"} <= set(r) for r in rounds
    ):
        raise DataError(f"{path}: holds no list of rounds; rerun `hardcase run` to write it again")
    return dict(report)


def read_run(run: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        DataError: report.json is missing or broken; names the file and what to do.
    """
    report = read_report(run)
    config_path = run / "config.yaml"
    text = config_path.read_text(encoding="utf-8") if config_path.is_file() else ""
    folders = sorted(p for p in (run / "rounds").glob("*") if p.is_dir() and p.name.isdigit())
    return RunFiles(
        path=run,
        report=report,
        config=yaml.safe_load(text) or {},
        config_text=text,
        split=optional_table(run / "split.parquet"),
        rounds=tuple(_read_round(folder) for folder in folders),
    )


def picture(path: Path, side: int) -> str | None:
    """Return an image file as a PNG data URI no larger than ``side`` pixels a side; None where it cannot be read."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def inside(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` of ``folder``, None where it is missing or lies outside the folder."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None


def _read_round(folder: Path) -> RoundFiles:
    accept, fidelity = folder / "accept.json", folder / "fidelity.json"
    return RoundFiles(
        number=int(folder.name),
        folder=folder,
        hard_cases=optional_table(folder / "hard_cases.parquet"),
        neighbours=optional_table(folder / "neighbours.parquet"),
        synthetic=optional_table(folder / "synthetic.parquet"),
        accept=_json(accept) if accept.is_file() else None,
        fidelity=_json(fidelity) if fidelity.is_file() else None,
        predictions=optional_table(folder / "predictions.parquet"),
    )


def optional_table(path: Path) -> pd.DataFrame | None:
    """Return a parquet file's table, None where there is no file."""
    return read_table(path) if path.is_file() else None


def read_table(path: Path, columns: Collection[str] = ()) -> pd.DataFrame:
    """Return a parquet file's table (DataError: it cannot be read, or lacks one of ``columns``)."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: is no readable parquet file ({error}); rerun `hardcase run` to write it again"
        ) from None
    absent = [name for name in columns if name not in table.columns]
    if absent:
        raise DataError(f"{path}: lacks column {', '.join(absent)}; rerun `hardcase run` to write it again")
    return table


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path}: is no valid JSON ({error}); rerun `hardcase run` to write it again"
        ) from None
