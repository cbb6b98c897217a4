"""What torch's own allocator gave out on a CPU, as its profiler records it: the truth that plans are held against."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile


def most_allocated(work: Callable[[], Any]) -> int:
    """Return the most bytes of tensors that ``work`` held at a time, workspaces of kernels included.

    What earlier tests left in reference cycles is freed before, or it would count as given back by ``work``.
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
