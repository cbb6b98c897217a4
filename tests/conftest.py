"""Shared by every test: one torch thread, no network, fixed hash of nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pytest
import torch

from tests.alone import Alone

ALONE = pytest.StashKey[Alone]()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker of `pytest -n` the lock it shares with the others."""
    if hasattr(config, "workerinput"):
        config.stash[ALONE] = Alone(config.rootpath / ".pytest_cache" / "alone")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[object]:
    """Run a test beside the other worker's, or alone where it starts Ray; waiting is outside its timeout."""
    lock = item.config.stash.get(ALONE, None)
    last = nextitem is None or nextitem.path != item.path
    ray = item.get_closest_marker("ray") is not None
    with lock.turn(alone=ray, last_of_file=last) if lock else nullcontext():
        return (yield)
