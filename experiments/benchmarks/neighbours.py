"""Neighbours for the denoiser: seconds and peak memory by number of images, and their slopes."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np

from engine.diffusion.neighbours import same_class_neighbours
from engine.retrieval.embedding import unit_rows

SHARES = (0.67, 0.11, 0.11, 0.05, 0.03, 0.02, 0.01)
"""Of HAM10000's classes, about: two thirds are nevi."""
WIDTH = 128
MEMORY_SLOPE = 1.1
"""Most; from sizes whose largest class fills a block on."""


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return one row: seconds and memory by size. Memory is what numpy allocates (tracemalloc), without the embeddings."""
    sizes = (10_000, 20_000, 40_000, *((80_000,) if full else ()))
    figures = [of_size(size, turns) for size in sizes]
    seconds, peak = (np.array([one[name] for one in figures]) for name in ("seconds", "peak_mib"))
    time_slope, memory_slope = (float(np.polyfit(np.log(sizes), np.log(y), 1)[0]) for y in (seconds, peak))
    at_400k = float(seconds[-1] * (400_000 / sizes[-1]) ** 2 / 60)
    return {
        "neighbours for the denoiser": {
            "sizes": figures,
            "time_slope": time_slope,
            "memory_slope": memory_slope,
            "minutes_at_400k": at_400k,
            "target": MEMORY_SLOPE,
            "met": memory_slope <= MEMORY_SLOPE,
            "alternative": "none: slopes",
        }
    }


def of_size(size: int, turns: int) -> dict[str, float]:
    """Measure one size: the median time, then once more for the peak, which tracing slows down."""
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.normal(size=(size, WIDTH)).astype(np.float32))
    label = rng.choice(len(SHARES), p=SHARES, size=size)
    lesion = np.char.mod("l%06d", rng.integers(0, int(size / 1.34), size=size))
    taken = []
    for _ in range(turns):
        start = time.process_time()
        same_class_neighbours(rows, label, lesion)
        taken.append(time.process_time() - start)
    tracemalloc.start()
    same_class_neighbours(rows, label, lesion)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    spread = {"least": min(taken), "most": max(taken)}
    return {"images": size, "seconds": float(np.median(taken)), "peak_mib": peak, **spread}
