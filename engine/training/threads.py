"""How many threads a process computes with: torch, and the matrix libraries that would take every core by themselves."""

from __future__ import annotations


def use_threads(count: int) -> None:
    """Set both, for the rest of this process or until it is set again; results depend on them."""
    import torch  # seeds and plans are read by commands that need no torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(count)
