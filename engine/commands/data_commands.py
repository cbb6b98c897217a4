"""`hardcase data describe | split | preview`: what a config's data set holds, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from engine.artifacts import decoded_images, duplicates, lesions
from engine.artifacts import split as split_file
from engine.artifacts.csv_text import write_csv
from engine.artifacts.whole_files import whole_file
from engine.commands.data_figures import UNDIVIDED, figures_of, print_counts, print_figures
from engine.commands.data_sheet import class_sheet
from engine.config import Config
from engine.data.fingerprint import fingerprint
from engine.errors import ConfigError, DataError
from engine.parts.dataset import open_dataset
from engine.pipeline import Pipeline
from engine.pipeline.foundation import decode, divide
from engine.pipeline.pipeline import NoRoles
from engine.store import StageRunner, copy_file, write_json
from engine.types import strings

PREVIEW_COLUMNS = 12


class _Writer(Protocol):
    def __call__(self, path: Path) -> None: ...


def describe(
    config: Config, runner: StageRunner, console: Console, *, json_path: Path | None = None
) -> dict[str, Any]:
    """Print (and write to ``json_path``) what the data set holds after decoding and splitting; returns that object.

    Args:
        config: a validated config; only ``data`` and ``seed`` matter.
        runner: runs the stages ``images`` and ``split``, or finds them in the cache.
        console: where the tables go.
        json_path: file for the figures, or None.

    Raises:
        DataError: the data is missing, broken or inconsistent.
        ConfigError: ``json_path`` cannot be written.
    """
    images, split = data_stages(config, runner, console)
    dataset = open_dataset(images, split)
    figures = figures_of(
        dataset.table, dataset.facts, split_file.read_facts(split), len(duplicates.read_frame(images))
    )
    print_figures(figures, config.data.malignant, console)
    if json_path is not None:
        _write(json_path, lambda path: write_json(path, figures))
        console.print(f"figures  {json_path}")
    return figures


def split(config: Config, runner: StageRunner, console: Console, *, out: Path | None = None) -> Path:
    """Print the split's counts and copy ``split.parquet`` (image_id, lesion_id, dx, split, group) to ``out``.

    As CSV where ``out`` ends in .csv. Returns the file: ``out``, or the cached one. Raises as ``describe`` does, and
    ConfigError for a name of another kind.
    """
    kind = None if out is None else _table_kind(out)
    images, parts = data_stages(config, runner, console)
    dataset = open_dataset(images, parts)
    facts, table = split_file.read_facts(parts), split_file.SCHEMA.path(parts)
    print_counts(figures_of(dataset.table, dataset.facts, facts, 0), console)
    console.print(f"digest   {facts.digest}")
    if out is None:
        return table
    if kind == ".csv":
        _write(out, lambda path: write_csv(split_file.SCHEMA.read(parts), path))
    else:
        _write(out, lambda path: copy_file(table, path))
    console.print(f"split    {out}")
    return out


def preview(config: Config, runner: StageRunner, console: Console, *, out: Path) -> Path:
    """Write a PNG contact sheet: a row per class, one image a lesion, the lesion mask outlined; returns ``out``.

    Raises as ``describe`` does.
    """
    dataset = open_dataset(*data_stages(config, runner, console))
    sheet = class_sheet(dataset, PREVIEW_COLUMNS)

    def save(path: Path) -> None:
        with whole_file(path) as partial:
            sheet.save(partial, format="PNG")

    _write(out, save)
    console.print(f"preview  {out} (green: the lesion mask, where there is one)")
    return out


def data_stages(config: Config, runner: StageRunner, console: Console) -> tuple[Path, Path]:
    """Run ``images`` and ``split`` under the keys a run of this config gives them.

    Raises:
        DataError: as ``describe``; where the images cannot be split, what they are is printed first.
    """
    images, split = stages_or_problem(config, runner)
    if isinstance(split, DataError):
        table = lesions.read(images)
        undivided = table.replace(split=strings([UNDIVIDED] * len(table))).take(
            np.flatnonzero(table.labelled_N)
        )
        facts, pairs = decoded_images.read(images), len(duplicates.read_frame(images))
        print_figures(figures_of(undivided, facts, None, pairs), config.data.malignant, console)
        raise split
    return images, split


def stages_or_problem(config: Config, runner: StageRunner) -> tuple[Path, Path | DataError]:
    """Run ``images`` and ``split``; return both folders, or that of the images and why they cannot be split.

    Raises:
        DataError: the images cannot be read.
    """
    pipeline = Pipeline(config, runner, NoRoles(), fingerprint(config.data, runner.cache.root))
    decode(pipeline)
    images = pipeline.stages["images"].path
    try:
        divide(pipeline)
    except DataError as error:
        return images, error
    return images, pipeline.stages["split"].path


def _table_kind(out: Path) -> str:
    """Return .csv or .parquet (also for a name without an end); ConfigError for another end."""
    kind = out.suffix.lower() or ".parquet"
    if kind not in (".csv", ".parquet"):
        raise ConfigError(f"--out {out}: is written as .csv or .parquet; give a name that ends so")
    return kind


def _write(path: Path, write: _Writer) -> None:
    try:
        write(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}); give another file"
        ) from None
