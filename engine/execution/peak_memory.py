"""The most memory that this process, or its GPU, held over a stretch of time."""

from __future__ import annotations

import threading
from typing import Final

import psutil

EVERY_SECONDS: Final = 0.02
"""Time between two looks; what comes and goes in between is not seen on a CPU."""


class PeakMemory:
    """Watches from ``begin`` to ``end``: a GPU as torch counts what it allocated there, this process by looking often.

    Attributes:
        device: a torch device; anything but cuda is watched as this process's memory.
    """

    def __init__(self, device: str) -> None:
        """Take the device; nothing is watched yet."""
        self.device = device
        self._process = psutil.Process()
        self._most = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin a stretch."""
        self.end()
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            return
        self._over.clear()
        self._most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self._thread.start()

    def end(self) -> int:
        """End the stretch; return the most bytes that were held, 0 where none was begun."""
        if self.device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated(self.device))
        if self._thread is None:
            return 0
        self._over.set()
        self._thread.join()
        self._thread = None
        return max(self._most, int(self._process.memory_info().rss))

    def _watch(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            self._most = max(self._most, self._process.memory_info().rss)
