"""What is written of stages once they have finished, while the loop goes on to others that run beside them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from engine.store import StageFolder


@dataclass
class Afterwards:
    """Work that needs finished stages, done in the order in which it was asked for, whichever of them is finished first."""

    waiting: deque[tuple[tuple[StageFolder, ...], Callable[[], object]]] = field(default_factory=deque)

    def do(self, folders: Iterable[StageFolder], work: Callable[[], object]) -> None:
        """Call ``work`` when the folders are finished and all that was asked for before is done; at once if that is now."""
        self.waiting.append((tuple(folders), work))
        while self.waiting and all(folder.ready for folder in self.waiting[0][0]):
            self._next()

    def wait(self) -> None:
        """Do all that was asked for; raises what stopped a stage."""
        while self.waiting:
            self._next()

    def _next(self) -> None:
        _, work = self.waiting.popleft()
        work()
