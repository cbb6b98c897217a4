"""A full disk is one line with the path and exit 1, whatever writes: tried on a real one where mounting is allowed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from engine import cli
from engine.artifacts.full_disk import allocated_memmap, no_space
from engine.artifacts.whole_files import write_text
from engine.commands import doctor_command
from engine.errors import FullDiskError
from engine.store import StageCache
from engine.store.attempt_folders import AttemptFolder
from engine.store.files import copy_file, write_json
from engine.training.checkpoints import save_tensors

pytestmark = pytest.mark.faults

SIZE = 400_000
NOISE = np.random.default_rng(0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if (
        shutil.which("mount") is None
        or subprocess.run(options, capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def image(path: Path) -> None:
    Image.fromarray(NOISE.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(path)


def parquet(path: Path) -> None:
    pd.DataFrame({"x": NOISE.normal(size=SIZE // 4)}).to_parquet(path)


def copied(path: Path) -> None:
    with tempfile.NamedTemporaryFile() as source:
        source.write(bytes(SIZE))
        source.flush()
        copy_file(Path(source.name), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text(path, "x" * SIZE),
    "json": lambda path: write_json(path, ["x"] * (SIZE // 4)),
    "safetensors": lambda path: save_tensors({"x": torch.zeros(SIZE)}, path),
    "npy": lambda path: np.save(path, np.zeros(SIZE), allow_pickle=False),
    "parquet": parquet,
    "png": image,
    "csv": lambda path: pd.DataFrame({"x": NOISE.normal(size=SIZE // 8)}).to_csv(path),
    "memmap": lambda path: allocated_memmap(path, np.uint8, (SIZE,)),
    "copy": copied,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_on_a_full_disk(small_disk: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        WRITERS[name](small_disk / f"file.{name}")
    assert no_space(caught.value) is not None
    assert cli.say_what_to_mend(caught.value) == 1
    error = capsys.readouterr().err
    assert "no space left on device; free some on that disk" in error
    assert "rerun to resume" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_a_stage_on_a_full_disk_names_a_path_and_is_computed_by_a_rerun(small_disk: Path, name: str) -> None:
    cache = StageCache(small_disk / "stages")

    def work(attempt: AttemptFolder, _halvings: int) -> None:
        WRITERS[name](attempt.out / f"file.{name}")

    with pytest.raises(FullDiskError, match=str(small_disk)):
        cache.fill("vae", "k", {}, work)
    assert not list((small_disk / "stages").glob("*.attempt-*"))
    assert cache.fill("vae", "k", {}, lambda _attempt, _halvings: None).path.exists()


def test_a_memmap_is_reserved_whole(tmp_path: Path) -> None:
    array = allocated_memmap(tmp_path / "a.npy", np.uint8, (1000, 1000))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 1_000_000
    array[:] = 7
    array.flush()
    assert int(np.load(tmp_path / "a.npy")[999, 999]) == 7


def test_a_memmap_without_room_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"a\.npy") as caught:
        allocated_memmap(tmp_path / "a.npy", np.uint8, (10,))
    assert caught.value.errno == errno.ENOSPC


def test_where_blocks_cannot_be_reserved_the_memmap_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert allocated_memmap(tmp_path / "a.npy", np.uint8, (10,)).shape == (10,)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError("100 requested and 0 written"), True),
        (
            RuntimeError(
                'Error while serializing: IoError(Os { code: 28, message: "No space left on device" })'
            ),
            True,
        ),
        (RuntimeError("database or disk is full"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("no space"), False),
    ],
)
def test_what_counts_as_full(error: Exception, full: bool) -> None:
    assert (no_space(error) is not None) is full


def test_any_command_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/data/a.npy")
        except OSError as error:
            raise RuntimeError("worker failed") from error

    monkeypatch.setattr(doctor_command, "doctor", fails)
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert "error: /data/a.npy: no space left on device" in result.output


def test_other_errors_are_still_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(doctor_command, "doctor", fails)
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert isinstance(result.exception, RuntimeError)
