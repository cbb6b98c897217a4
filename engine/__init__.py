"""hardcase: find the lesions a classifier gets wrong, synthesize more of them, retrain, prove whether it helped."""

from __future__ import annotations

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
"""diffusers imports it where it is installed; it warns that package `kernels` is absent, and nothing here uses that."""

__version__: str
"""What git's tags made of it when hardcase was installed; ``0.0`` for sources that never were."""


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: commands that say nothing of it start without."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hardcase")
    except PackageNotFoundError:
        return "0.0"
