"""Coverage on and off: `no_cover` holds for a test's fixtures too, and what tests share is counted whoever makes it.

Coverage in Python 3.11 doubles the time of plain Python. Tests marked ``no_cover`` run again what other tests cover.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PACKAGES = ("engine", "policies")
LIBRARIES = (
    "diffusers", "faiss", "matplotlib.pyplot", "mlflow", "optuna", "pandas", "pyarrow.parquet", "ray.tune",
    "scipy.optimize", "scipy.stats", "sklearn.metrics", "timm", "torch", "torchvision", "transformers",
)  # fmt: skip

_controllers: list[Any] = []


def remember(config: pytest.Config) -> None:
    """Keep pytest-cov's controller of this process, where coverage is asked for."""
    _controllers[:] = [getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None)]


def _counts() -> bool:
    """Return whether coverage is asked for."""
    return bool(_controllers) and _controllers[0] is not None


@contextmanager
def counting(wanted: bool) -> Iterator[None]:
    """Count coverage inside, or do not; afterwards it is as it was."""
    (controller,) = _controllers or [None]
    if controller is None or bool(controller.started) == wanted:
        yield
        return
    switch, back = controller.pause, controller.resume
    if wanted:
        switch, back = back, switch
    switch()
    try:
        yield
    finally:
        back()


def import_code() -> None:
    """Import engine and policies counted, and the libraries they import before that, uncounted: tracing those is slow."""
    if not _counts():
        return
    with counting(False):
        for name in LIBRARIES:
            importlib.import_module(name)
    for package in PACKAGES:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def setup(item: pytest.Item) -> Generator[None, None, None]:
    """Pause while the fixtures of a ``no_cover`` test are made: pytest-cov itself pauses for the call alone."""
    with counting(item.get_closest_marker("no_cover") is None):
        yield
