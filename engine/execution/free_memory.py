"""How much memory a run could have here: of a GPU, or of this machine within the limit of its container."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

CGROUP: Final = Path("/sys/fs/cgroup")
PROCESS: Final = Path("/proc/self/cgroup")


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory in bytes: ``free`` could be taken now, beside the ``total`` there is; ``what`` it is, in words."""

    free: int
    total: int
    what: str


def room_on(device: str) -> Room:
    """Return the room on a torch device; what torch itself has reserved on a GPU and does not use counts as free."""
    if not device.startswith("cuda"):
        return host_room()
    import torch

    free, total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return Room(free=free + unused, total=total, what=f"{torch.cuda.get_device_name(device)} ({device})")


def host_room() -> Room:
    """Return the room in this machine's memory: what the system can give, and no more than the container may still take.

    Pages of files that the system would give up count as free.
    """
    memory = psutil.virtual_memory()
    free, total, what = int(memory.available), int(memory.total), "this machine"
    for limit, used in container_limits():
        if limit < total:
            total, what = limit, "this container"
        free = min(free, max(0, limit - used))
    return Room(free=free, total=total, what=what)


def container_limits() -> list[tuple[int, int]]:
    """Return (limit, used) in bytes of each control group that this process is in; no group, or no limit: none.

    ``used`` is without pages of files that were not used lately, which the kernel takes back first.
    """
    return [found for group in _groups() if (found := _v2(group) or _v1(group)) is not None]


def _groups() -> list[Path]:
    """Return the folders of this process's groups and of those above them."""
    try:
        lines = PROCESS.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = [CGROUP, CGROUP / "memory"]
    for line in lines:
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        if controllers in ("", "memory"):
            root = CGROUP / controllers
            place = root / name.lstrip("/")
            found += [place, *(above for above in place.parents if root in above.parents)]
    return list(dict.fromkeys(found))


def _v2(group: Path) -> tuple[int, int] | None:
    limit, used = _number(group / "memory.max"), _number(group / "memory.current")
    if limit is None or used is None:
        return None
    return limit, max(0, used - _statistic(group / "memory.stat", "inactive_file"))


def _v1(group: Path) -> tuple[int, int] | None:
    limit = _number(group / "memory.limit_in_bytes")
    used = _number(group / "memory.usage_in_bytes")
    if limit is None or used is None:
        return None
    return limit, max(0, used - _statistic(group / "memory.stat", "total_inactive_file"))


def _number(file: Path) -> int | None:
    """Return the number in a file; None where there is none ("max": no limit)."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _statistic(file: Path, name: str) -> int:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
