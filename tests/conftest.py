"""Shared by every test: one thread, no network; and what whole runs of all pytest processes share."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

# Idle threads of two processes on two cores wait by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import filelock
import psutil
import pytest
import torch
from hypothesis import settings

FIRST_PART, SECOND_PART = "not ray and not heavy", "ray and not heavy"
"""What `make test` asks for."""
COUNTS = "hardcase/first part of make test"
MEMORY = Path("/dev/shm")
"""Linux keeps what is written here in memory."""
GIB = 2**30


def in_memory_where_there_is_plenty() -> None:
    """Let tests write to memory: they make and remove a hundred thousand small files, for which a disk's journal waits.

    Whoever names a place (--basetemp, TMPDIR, PYTEST_DEBUG_TEMPROOT) has it.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    memory = psutil.virtual_memory().available
    if shutil.disk_usage(MEMORY).free >= 12 * GIB and memory >= 16 * GIB:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


in_memory_where_there_is_plenty()
# An example may take its time on a busy machine; all else stays as Hypothesis, or its profile for CI, has it.
settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say at the end of `make test`'s second part how the first part ended."""
    if not hasattr(config, "cache"):  # pytest -p no:cacheprovider
        return
    if config.getoption("markexpr") == SECOND_PART:
        terminalreporter.write_line(f"before these, tests without ray: {config.cache.get(COUNTS, '?')}")
    elif config.getoption("markexpr") == FIRST_PART:
        counts = {name: len(terminalreporter.stats.get(name, ())) for name in ("passed", "skipped", "failed")}
        config.cache.set(COUNTS, ", ".join(f"{count} {name}" for name, count in counts.items()))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    found = yield
    gc.freeze()  # modules and tests stay: no garbage collection need look at them
    return found


def pytest_unconfigure() -> None:
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put whole runs first: one process plays them and shares their fixtures, and what is quick is left to balance."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/integration/"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of ``pytest -n``, removed with the others."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def once(folder: Path, make: Callable[[], object]) -> Path:
    """Call ``make``, which fills ``folder``, in the process that comes first; the others wait for it."""
    made = folder.with_name(f"{folder.name}.made")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_name(f"{folder.name}.made.lock")):
        if not made.exists():
            make()
            made.touch()
    return folder


@pytest.fixture(scope="session")
def output(shared_folder: Path) -> Path:
    """One output folder: runs in it share the stage cache, so each computes what it alone has.

    Give every run a name of its own.
    """
    return shared_folder / "whole" / "runs"


@pytest.fixture(scope="session")
def tiny_run(output: Path) -> Path:
    """The run folder of the tiny config after one round on the local backend; treat it as read-only."""
    from engine import build
    from tests.integration.tiny import tiny_config

    config = tiny_config(str(output), name="tiny", loop={"rounds": 1})
    return once(output / "tiny", lambda: build.run(config))


@pytest.fixture(scope="session")
def mlflow_tables(shared_folder: Path) -> Path:
    """An MLflow database that holds its tables and nothing else, which takes MLflow seconds; copy it."""

    def make() -> None:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        folder.mkdir()
        SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", folder.as_uri()).engine.dispose()

    folder = shared_folder / "mlflow_tables"
    return once(folder, make) / "mlflow.db"
