"""Runs in an object store, for commands that read run folders: fetched to this machine, and `hardcase fetch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from engine.errors import DataError


def here(run: Path | str) -> Path:
    """Return a run's folder on this machine: the one given, or the copy of the run at an s3:// URL.

    Raises:
        ConfigError, DataError: no run lies at the URL.
        StoreError: the store refuses or is silent.
    """
    from engine.config.places import url_of

    url = url_of(run)
    if url is None:
        return Path(run)
    from engine.store.stored_run import run_at

    return run_at(url).fetch()


def all_here(runs: Sequence[Path]) -> list[Path]:
    """Return the folders of several runs on this machine."""
    return [here(run) for run in runs]


@contextmanager
def written_back(run: Path) -> Iterator[Path]:
    """Yield a run's folder on this machine; what the block changes in it goes to where the run lies.

    Raises:
        ConfigError: another process writes the run.
    """
    from engine.config.places import url_of

    url = url_of(run)
    if url is None:
        yield run
        return
    from engine.store.stored_run import run_at

    stored = run_at(url)
    stored.fetch()
    with stored.written():
        yield stored.path


def fetch(url: str, out: Path, console: Console) -> Path:
    """Copy a run and the stages it names from an object store into ``out``, as an output folder; return the run's folder.

    Raises:
        ConfigError, DataError: no run lies at the URL, or ``out`` holds a run of that name.
        StoreError: the store refuses or is silent.
    """
    from engine.artifacts import run_stages
    from engine.artifacts.run_layout import RunLayout
    from engine.config.places import url_of
    from engine.store.files import copy_folder, ensure_writable
    from engine.store.finished_stages import finished_stages

    if url_of(url) is None:
        raise DataError(f"{url}: is no URL; give s3://BUCKET/PREFIX/NAME")
    run = here(url)
    target = RunLayout(out / run.name)
    if target.path.exists():
        raise DataError(f"{target.path}: is there already; give another folder, or remove it")
    ensure_writable(out, "DIR")
    names = sorted(set(run_stages.read_if_written(run).values()))
    for name in names:
        stage = RunLayout(run).cache / name
        finished_stages(stage.parent).fetch(stage)
        if stage.is_dir() and not (target.cache / name).exists():
            copy_folder(stage, target.cache / name)
    copy_folder(run, target.path)
    console.print(f"run      {target.path}")
    console.print(f"stages   {len(names)} in {target.cache}")
    return target.path
