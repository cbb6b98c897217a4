"""Where a stage's time goes: some of its steps under torch's profiler, as a trace for a browser and a table of operations.

A whole stage would be gigabytes. What is watched are STEPS steps (of a training) or chunks (of a map) after the first one,
which pays for what is made once; fewer where they take longer than SECONDS. A stage without steps is watched whole.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.artifacts.whole_files import whole_file, write_text

if TYPE_CHECKING:
    from engine.training.plan import Progress

STEPS: Final = 5
"""Steps or chunks that are watched."""
SECONDS: Final = 5.0
"""After so many seconds no further one is watched."""
ROWS: Final = 10
"""Operations in a stage's table, the most expensive first."""
TRACE: Final = ".trace.json.gz"
TABLE: Final = ".md"
OPERATIONS: Final = "operations.md"
"""The tables of all stages."""


@dataclass(kw_only=True)
class Watch:
    """Watches what its thread computes between calls; callable like the Progress that it passes on.

    Calls of other threads than the one that began are passed on and no more: the profiler would end the process.

    Attributes:
        target: where the trace and the table go, without their endings.
        title: what the table says is watched.
        device: torch device; on a GPU its operations are watched too, and what is counted is its time.
        progress: who is told of each step.
    """

    target: Path
    title: str
    device: str
    progress: Progress
    _profiler: Any = None
    _steps: int = -1
    _since: float = 0.0
    _thread: int = field(default_factory=threading.get_ident)

    def begin(self) -> Watch:
        """Watch from here to the first step, which is kept unless a later one comes."""
        self._start()
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        """Pass the step on; begin or end the watching with it where that is due."""
        self.progress(what, done, total)
        if self._profiler is None or threading.get_ident() != self._thread:
            return
        self._steps += 1
        if self._steps == 0:
            self._stop(f"{what}, up to the end of the first step")
            self._start()
        elif self._steps == STEPS or time.monotonic() - self._since >= SECONDS:
            self._stop(f"{what}, {self._steps} steps after the first")

    def end(self, whole: str = "the whole stage") -> None:
        """Keep what is watched, if that is more than nothing after the first step; ``whole``: what all of it is."""
        if self._profiler is not None and self._steps != 0:
            self._stop(whole if self._steps < 0 else f"{self._steps} steps after the first")
        elif self._profiler is not None:
            self._profiler.__exit__(None, None, None)
            self._profiler = None

    def _start(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # lines of the profiler's own, between those of a run
        import torch

        kinds = torch.profiler.ProfilerActivity
        activities = [kinds.CPU, *([kinds.CUDA] if self.device.startswith("cuda") else [])]
        self._profiler = torch.profiler.profile(activities=activities, acc_events=True)
        self._profiler.__enter__()
        self._since = time.monotonic()

    def _stop(self, what: str) -> None:
        profiler, self._profiler = self._profiler, None
        seconds = time.monotonic() - self._since
        profiler.__exit__(None, None, None)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        trace = self.target.with_name(self.target.name + TRACE)
        with whole_file(trace) as partial:
            zipped = partial.with_name(f"{partial.name}.gz")
            profiler.export_chrome_trace(str(zipped))
            zipped.replace(partial)
        rows = operations(profiler.key_averages(), on_gpu=self.device.startswith("cuda"))
        write_text(self.target.with_name(self.target.name + TABLE), table(self.title, what, seconds, rows))


@dataclass(frozen=True)
class Operation:
    """What one kind of operation took, without those that it calls."""

    name: str
    calls: int
    seconds: float


def operations(averages: Sequence[Any], *, on_gpu: bool) -> list[Operation]:
    """Return every operation of a profiler's averages, the most expensive first."""
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    found = [Operation(row.key, int(row.count), float(getattr(row, own)) / 1e6) for row in averages]
    return sorted((row for row in found if row.seconds > 0), key=lambda row: -row.seconds)


def table(title: str, what: str, seconds: float, rows: Sequence[Operation]) -> str:
    """Return a stage's table as Markdown: the ROWS most expensive operations, their share and calls."""
    whole = sum(row.seconds for row in rows)
    lines = [
        f"## {title}",
        "",
        f"Watched: {what}; {seconds:.2f} s, {whole:.2f} s of them in operations of torch.",
        "",
        "| operation | share | ms | calls |",
        "|---|---|---|---|",
        *(
            f"| `{row.name.replace('|', '/')[:80]}` | {row.seconds / whole:.1%} | {1000 * row.seconds:.1f} | {row.calls} |"
            for row in rows[:ROWS]
        ),
    ]
    return "\n".join(lines) + "\n"


def _unheard(what: str, done: int, total: int) -> None:
    """Do nothing."""


@contextmanager
def watched_chunk(folder: Path | None, name: str, device: str) -> Iterator[None]:
    """Watch the work of the block as a whole, one chunk of a map that began elsewhere; None watches nothing."""
    if folder is None:
        yield
        return
    watch = Watch(target=folder / name, title=name, device=device, progress=_unheard).begin()
    try:
        yield
    finally:
        watch.end("one chunk, on one worker")


@contextmanager
def watched(folder: Path | None, name: str, device: str, progress: Progress) -> Iterator[Progress]:
    """Watch the work of the block, into ``folder``; None watches nothing. Yields the progress that the work must call."""
    if folder is None:
        yield progress
        return
    watch = Watch(target=folder / name, title=name, device=device, progress=progress).begin()
    try:
        yield watch
    finally:
        watch.end()


def collect(folder: Path) -> Path | None:
    """Write the tables of all stages in ``folder`` into one file; None where none was watched."""
    parts = sorted(path for path in folder.glob(f"*{TABLE}") if path.name != OPERATIONS)
    if not parts:
        return None
    head = (
        "# Where the time goes\n\nThe most expensive operations of each stage, each without those that it calls. "
        f"The files `*{TRACE}` open in a browser at `chrome://tracing` or in Perfetto.\n\n"
    )
    return write_text(
        folder / OPERATIONS, head + "\n".join(path.read_text(encoding="utf-8") for path in parts)
    )
