"""Shared by every test: one torch thread, no network; and what whole runs of one pytest process share."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pytest
import torch

FIRST_PART = "hardcase/first part of make test"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say at the end of `make test`'s second part (it appends coverage) how the first part ended."""
    if not hasattr(config, "cache"):  # pytest -p no:cacheprovider
        return
    if config.getoption("cov_append", default=False):
        terminalreporter.write_line(f"before these, tests without ray: {config.cache.get(FIRST_PART, '?')}")
    elif config.getoption("markexpr") == "not ray":
        counts = {name: len(terminalreporter.stats.get(name, ())) for name in ("passed", "skipped", "failed")}
        config.cache.set(FIRST_PART, ", ".join(f"{count} {name}" for name, count in counts.items()))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output folder: runs in it share the stage cache, so each computes what it alone has.

    Give every run a name of its own.
    """
    return tmp_path_factory.mktemp("whole") / "runs"


@pytest.fixture(scope="session")
def tiny_run(output: Path) -> Path:
    """The run folder of the tiny config after one round on the local backend; treat it as read-only."""
    from engine import build
    from tests.integration.tiny import tiny_config

    folder, _ = build.run(tiny_config(str(output), name="tiny", loop={"rounds": 1}))
    return folder.path
