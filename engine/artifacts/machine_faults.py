"""Tells what the machine caused from what is a bug: memory, rights, limits, disks, devices and broken installations.

Libraries raise these in their own ways, often far below the line that asked. Wherever an error leaves a stage or a command
it is looked at here, and becomes one line with what to do.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Final

from engine.artifacts.causes import chain
from engine.artifacts.full_disk import no_space, place_of
from engine.errors import FullDiskError, HardcaseError, MachineError, NoMemoryError

_NO_MEMORY: Final = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|not enough memory|unable to allocate|bad_alloc"
    r"|(CUBLAS|CUDNN)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)|storage size calculation overflowed|array is too big"
    r"|maximum allowed dimension exceeded|invalid buffer size",
    re.IGNORECASE,
)
"""What torch, numpy, Arrow and CUDA say, whose errors are RuntimeErrors and ValueErrors as often as MemoryErrors."""

_SAID: Final = (
    (r"can't start new thread|resource temporarily unavailable",
     "the system allows no more processes or threads; end others, or raise `ulimit -u`"),
    (r"could not determine home directory",
     "~ stands for no folder here (HOME is not set, or there is no such user); write the whole path"),
    (r"embedded null (byte|character)", "a path or name holds a null character; remove it"),
    (r"no kernel image is available|nvidia driver|cuda driver|no cuda gpus are available|cuda-capable device",
     "the GPU, its driver and this torch do not fit; give backend.device=cpu, or install the torch of this driver"),
    (r"cuda error|cudnn error|cublas error|hip error|mps backend",
     "the GPU failed; rerun to resume, or give backend.device=cpu"),
    (r"unable to open shared memory|no space left on shared memory|bus error.*shared memory",
     "shared memory (/dev/shm) is too small; give the container more (docker: --shm-size)"),
)  # fmt: skip
"""(What a RuntimeError or an OSError without a number says, what to do about it)."""

_NUMBERS: Final = {
    errno.EACCES: "give a place that you may read and write, or have its rights changed",
    errno.EPERM: "give a place that you may read and write, or have its rights changed",
    errno.EROFS: "give another output folder",
    errno.ENAMETOOLONG: "names here have 255 bytes at most; give a shorter output or name, or shorter ids in the data",
    errno.EAGAIN: "the system allows no more processes or threads; end others, or raise `ulimit -u`",
    errno.EMFILE: "raise the number of open files (`ulimit -n`)",
    errno.ENFILE: "the system has too many files open; end other programs",
    errno.EIO: "the disk or network drive fails; look after it, then rerun to resume",
    errno.ESTALE: "the network drive lost the file; rerun to resume",
    errno.ENOTCONN: "the network drive is not connected; connect it, then rerun to resume",
    errno.ENOTDIR: "a part of this path is a file, not a folder; give another path",
    errno.EISDIR: "this is a folder, not a file; give another path",
    errno.EEXIST: "something of this name is there already; give another path",
    errno.ELOOP: "links here lead in a circle; give another path",
    errno.EADDRINUSE: "another program uses this port; end it, or give another",
    errno.EILSEQ: "this name cannot be written on this file system; give a plain one",
    errno.ETXTBSY: "another program uses this file; rerun when it is done",
    errno.EBUSY: "another program uses this file; rerun when it is done",
}  # fmt: skip
"""errno: what to do."""


def mendable(
    error: BaseException, doing: str = "", saving: str = "", place: object = ""
) -> HardcaseError | None:
    """Return what a person can mend behind an error, None where it is a bug.

    Args:
        error: what was raised, with its chain of causes.
        doing: begins the message, for example ``stage vae``; "": nothing does.
        saving: which settings need less memory, for example ``lower vae.batch_size``.
        place: what a full disk is named by where the error names no file.
    """
    if isinstance(error, HardcaseError):
        return error
    full = no_space(error)
    if full is not None:
        return FullDiskError.at(place_of(full) or place or "output")
    for here in chain(error):
        remedy = _remedy(here, saving)
        if remedy is not None:
            parts = (doing, place_of(here), one_line(here), remedy)
            return (NoMemoryError if _is_no_memory(here) else MachineError)(_joined(*parts))
    return None


def no_memory(said: str, doing: str = "", saving: str = "") -> NoMemoryError:
    """Return the error of a lack of memory that another program noticed; arguments as for ``mendable``."""
    return NoMemoryError(_joined(doing, None, said, _memory_remedy(saving)))


def _is_no_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ValueError | OSError) and bool(_NO_MEMORY.search(str(error)))
    )


def _memory_remedy(saving: str) -> str:
    return f"not enough memory: {saving or 'work on fewer or smaller images'}, or end other programs; rerun to resume"


def _remedy(error: BaseException, saving: str) -> str | None:
    said = str(error)
    if _is_no_memory(error):
        return _memory_remedy(saving)
    if isinstance(error, OSError) and error.errno is not None:
        return _NUMBERS.get(error.errno)
    if isinstance(error, UnicodeEncodeError) and error.reason.startswith(("surrogates", "ordinal")):
        return "a name cannot be written in this system's encoding; set PYTHONUTF8=1, or rename it"
    if isinstance(error, ImportError) and not (error.name or "").startswith(("engine", "policies")):
        return "a library is absent or broken; install hardcase again (`pip install --force-reinstall`)"
    if isinstance(error, RuntimeError | OSError | ValueError):
        return next((remedy for pattern, remedy in _SAID if re.search(pattern, said, re.IGNORECASE)), None)
    return None


def one_line(error: BaseException) -> str:
    """Return what an error says in one line of 200 characters; of a system error the reason alone."""
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(error.errno).lower() if error.errno else error.strerror
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:197]}..."


def _joined(doing: str, place: str | None, said: str, remedy: str) -> str:
    where = ": ".join(part for part in (doing, place, said) if part)
    return f"{where}; {remedy}"
