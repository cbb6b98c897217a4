"""Reads a whole run folder, as pages and studies take it: every file is optional but report.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from engine.artifacts import (
    accept,
    fidelity,
    hard_cases,
    neighbours,
    predictions,
    report_json,
    split,
    synthetic,
)
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.fidelity import Fidelity
from engine.artifacts.neighbours import Neighbours
from engine.artifacts.report_json import RunReport
from engine.artifacts.run_layout import RunLayout
from engine.artifacts.run_links import refuse_links_out
from engine.artifacts.schema import REMEDY
from engine.artifacts.split import SplitTable
from engine.artifacts.yaml_text import parse_yaml
from engine.errors import ConfigError, DataError
from engine.types import HardCases, Predictions

SHOWN: Final = (
    "sample_id", "parent_image_id", "dx", "file", "accepted", "reasons", "judge_p", "nearest_train_distance", "value"
)  # fmt: skip
"""Columns of synthetic.parquet that pages read."""


@dataclass(frozen=True, kw_only=True)
class RoundFiles:
    """The folder of one round; what it lacks is None. ``synthetic`` holds the columns SHOWN."""

    number: int
    folder: Path
    hard_cases: HardCases | None = None
    neighbours: Neighbours | None = None
    synthetic: pd.DataFrame | None = None
    accept: AcceptFacts | None = None
    fidelity: Fidelity | None = None
    predictions: Predictions | None = None


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """A run folder as read; ``config`` is {} and ``config_text`` "" without config.yaml."""

    path: Path
    report: RunReport
    config: Mapping[str, Any]
    config_text: str
    split: SplitTable | None
    rounds: tuple[RoundFiles, ...]

    @property
    def layout(self) -> RunLayout:
        """Where its files lie."""
        return RunLayout(self.path)

    def round(self, number: int) -> RoundFiles | None:
        """Return the folder of a round, None where it is missing."""
        return next((entry for entry in self.rounds if entry.number == number), None)


def read_run(run: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        DataError: report.json is missing, or a file is broken; names the file and what to do.
    """
    refuse_links_out(run)
    layout = RunLayout(run)
    report = report_json.read(run)
    text = layout.config.read_text(encoding="utf-8") if layout.config.is_file() else ""
    return RunFiles(
        path=run,
        report=report,
        config=_config(layout.config, text),
        config_text=text,
        split=split.read(run) if split.SCHEMA.present(run) else None,
        rounds=tuple(_read_round(number, layout.round_folder(number)) for number in layout.round_numbers()),
    )


def _config(path: Path, text: str) -> Mapping[str, Any]:
    """Return the values of config.yaml, {} where it is empty (DataError: it is no mapping, or not YAML as configs are)."""
    try:
        tree = parse_yaml(text, str(path))
    except ConfigError as error:
        raise DataError(str(error)) from None
    if not isinstance(tree, dict | None):
        raise DataError(f"{path}: holds no keys and values; {REMEDY}")
    return tree or {}


def _read_round(number: int, folder: Path) -> RoundFiles:
    return RoundFiles(
        number=number,
        folder=folder,
        hard_cases=hard_cases.read(folder) if hard_cases.SCHEMA.present(folder) else None,
        neighbours=neighbours.read(folder) if neighbours.SCHEMA.present(folder) else None,
        synthetic=synthetic.read_shown(folder, SHOWN) if synthetic.SCHEMA.present(folder) else None,
        accept=accept.read(folder) if AcceptFacts.present(folder) else None,
        fidelity=fidelity.read(folder) if Fidelity.present(folder) else None,
        predictions=predictions.read(folder) if predictions.SCHEMA.present(folder) else None,
    )
