"""The most memory that was held, also where it is given back before the end."""

from __future__ import annotations

import time

import numpy as np

from engine.execution.peak_memory import PeakMemory

MIB = 2**20


def test_what_was_held_in_between_counts_and_what_came_before_does_not() -> None:
    memory = PeakMemory("cpu")
    assert memory.end() == 0
    memory.begin()
    quiet = memory.end()
    memory.begin()
    held = np.ones(200 * MIB, dtype=np.uint8)
    until = time.monotonic() + 60
    while memory._most < quiet + 150 * MIB and time.monotonic() < until:
        time.sleep(0.01)  # the watcher looks when the machine lets it
    del held
    peak = memory.end()
    assert 150 * MIB < peak - quiet < 400 * MIB
    memory.begin()
    assert memory.end() < peak - 150 * MIB, "a new stretch begins with what is held then"
