"""What it takes until a command answers, in processor seconds of a process of its own, beside importing torch."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from experiments.benchmarks.timing import OURS, compared, in_turns
from experiments.lib.keeping import ROOT

COMMANDS: Final = {
    "hardcase --help": ("-m", "engine.cli", "--help"),
    "hardcase config explain": ("-m", "engine.cli", "config", "explain", "policy.mining"),
}
TORCH: Final = ("-c", "import torch")


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return a row per command; ``full`` takes twice the turns."""
    return {
        name: compared(
            in_turns({OURS: partial(child, call), "import torch": partial(child, TORCH)}, 2 * turns if full else turns),
            1.0, unit="answers", alternative='python -c "import torch"',
        )
        for name, call in COMMANDS.items()
    }  # fmt: skip


def child(arguments: Sequence[str]) -> float:
    """Return the processor seconds of Python with these arguments, from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
