"""What a machine causes is one line with a remedy and exit 1, from a command, a stage or a Ray task; bugs stay bugs."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from engine import cli
from engine.artifacts.machine_faults import mendable
from engine.commands import doctor_command
from engine.errors import ConfigError, FullDiskError, MachineError
from engine.execution.ray_causes import found_in
from engine.stages import NAMES, find
from engine.store import StageCache
from engine.store.attempt_folders import AttemptFolder
from tests.integration.tiny import tiny_tree
from tests.processes import Forked, command

pytestmark = pytest.mark.faults

MEMORY: dict[str, Callable[[], object]] = {
    "numpy": lambda: np.empty((1 << 50,), dtype=np.uint8),
    "numpy, too big": lambda: np.empty((1 << 62, 1 << 10)),
    "torch": lambda: torch.empty(1 << 50, dtype=torch.uint8),
    "torch, too big": lambda: torch.empty(1 << 62, 1 << 10),
    "python": lambda: bytearray(1 << 60),
}


@pytest.mark.parametrize("name", MEMORY)
def test_no_memory_names_the_stage_and_the_setting(tmp_path: Path, name: str) -> None:
    def work(_attempt: AttemptFolder, _halvings: int) -> None:
        MEMORY[name]()

    cache = StageCache(tmp_path)
    with pytest.raises(MachineError) as caught:
        cache.fill("vae", "k", {}, work)
    message = str(caught.value)
    assert message.startswith("stage vae: ")
    assert "not enough memory: lower vae.batch_size" in message and "rerun to resume" in message
    assert len(message.splitlines()) == 1
    assert cache.fill("vae", "k", {}, lambda _attempt, _halvings: None).path.exists(), "a rerun goes on"


CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.2 GiB is free."


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (torch.OutOfMemoryError(CUDA), ["CUDA out of memory", "not enough memory"]),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), ["not enough memory"]),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), ["the GPU failed", "backend.device=cpu"]),
        (RuntimeError("The NVIDIA driver on your system is too old"), ["do not fit", "backend.device=cpu"]),
        (RuntimeError("can't start new thread"), ["ulimit -u"]),
        (RuntimeError("Could not determine home directory."), ["HOME", "whole path"]),
        (RuntimeError("unable to open shared memory object </torch_1>"), ["--shm-size"]),
        (ValueError("embedded null byte"), ["null character"]),
        (ImportError("libcudart.so.12: cannot open shared object file", name="torch._C"), ["install hardcase again"]),
        *[
            (OSError(number, os.strerror(number), "/data/x"), ["/data/x: ", os.strerror(number).lower()])
            for number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EMFILE, errno.EIO,
                           errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EADDRINUSE, errno.ESTALE)
        ],
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range(128)"), ["PYTHONUTF8=1"]),
    ],
)  # fmt: skip
def test_any_command_says_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, parts: list[str]
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("a cause around it") from error

    monkeypatch.setattr(doctor_command, "doctor", fails)
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 1, result.exception
    assert all(part in result.stderr for part in parts), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("mel"), ZeroDivisionError(), AssertionError(),
        OSError(errno.EBADF, "Bad file descriptor"), FileNotFoundError(errno.ENOENT, "No such file", "x"),
        ImportError("cannot import name 'x'", name="engine.loop"), ValueError("memory of the network"),
    ],
)  # fmt: skip
def test_a_bug_stays_a_bug(error: Exception) -> None:
    assert mendable(error) is None


def test_what_is_said_already_is_not_said_anew() -> None:
    for error in (ConfigError("x"), FullDiskError.at("/x")):
        assert mendable(error) is error


def test_the_cause_inside_a_ray_error_is_found() -> None:
    from ray.exceptions import RayTaskError

    inner = RayTaskError("f", "a long traceback", MemoryError("Unable to allocate 8 TiB"))
    found = mendable(inner.as_instanceof_cause(), "stage judge", find("judge").saving)
    assert str(found) == (
        "stage judge: Unable to allocate 8 TiB; not enough memory: lower judge.batch_size, or end other programs; "
        "rerun to resume"
    )
    assert found_in(RayTaskError("f", "tb", MachineError("m"))).args == ("m",)


@pytest.mark.parametrize("stage", NAMES)
def test_every_stage_names_settings_that_there_are(stage: str) -> None:
    from engine.config.known_keys import all_keys

    words = [word.strip(",").partition("=")[0] for word in find(stage).saving.split() if "." in word]
    assert words and set(words) <= set(all_keys())


def with_little_memory(*arguments: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    command(*arguments)


@pytest.mark.slow
def test_a_process_without_memory_ends_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        yaml.safe_dump(tiny_tree(str(tmp_path / "out"), embedder={"batch_size": 2_000_000_000}))
    )
    done = Forked(tmp_path / "said.txt", with_little_memory, "run", str(config))
    assert done.wait() == 1, done.said()[-2000:]
    assert "lower embedder.batch_size" in done.said() and "Traceback" not in done.said()
