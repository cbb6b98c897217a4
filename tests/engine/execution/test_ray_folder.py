"""Ray's sockets fit whatever TMPDIR is, or one line says which folder to give."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.execution import ray_address
from engine.execution.ray_folder import session_folder

SESSION = "session_2026-01-31_23-59-59_999999_1234567/sockets/plasma_store"


@pytest.fixture
def short() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hc") as place:
        yield place


def test_a_short_tmpdir_is_left_to_ray(monkeypatch: pytest.MonkeyPatch, short: str) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", short)
    assert session_folder() is None


@given(length=st.integers(2, 200))
@settings(max_examples=30, deadline=None)
def test_whatever_its_length_a_socket_can_be_bound(length: int) -> None:
    """The longest socket of a session is bound for real, in the folder that is chosen."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hc") as short, pytest.MonkeyPatch.context() as patch:
        base = Path(short) / "/".join("x" * 50 for _ in range(length // 51)) / ("y" * (length % 51) or "y")
        base.mkdir(parents=True)
        patch.delenv("RAY_TMPDIR", raising=False)
        patch.setenv("TMPDIR", str(base))
        chosen = session_folder([short])
        path = Path(chosen or f"{base}/ray") / SESSION
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))


def test_a_folder_that_cannot_be_written_to_is_replaced(monkeypatch: pytest.MonkeyPatch, short: str) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/no/such")
    assert session_folder([short]) == f"{short}/ray"
    if os.geteuid() != 0:
        Path(short).chmod(stat.S_IRUSR)
        monkeypatch.setenv("RAY_TMPDIR", short)
        assert session_folder(["/tmp"]) == "/tmp/ray"


def test_nowhere_short_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 115)
    with pytest.raises(
        ConfigError, match=r"too long for Ray's sockets .* set RAY_TMPDIR .*backend.kind=local"
    ) as caught:
        session_folder(["/no/such"])
    assert len(str(caught.value).splitlines()) == 1


def test_ray_is_started_with_the_folder_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    seen: dict[str, object] = {}
    monkeypatch.setattr(ray, "init", lambda **options: seen.update(options))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 115)
    ray_address.connect(None)
    assert seen["_temp_dir"] == "/tmp/ray" and seen["address"] == "local"


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (RuntimeError("The current node timed out during startup."), "backend.kind: ray did not start here .*kind=local"),
        (OSError("AF_UNIX path length cannot exceed 107 bytes"), "ray did not start here .*107 bytes"),
        (ValueError("Attempting to cap object store memory usage at 1 bytes"), "object store memory .*kind=local"),
        (PermissionError(13, "Permission denied", "/tmp/ray"), "Ray did not start here: /tmp/ray: permission denied"),
    ],
)  # fmt: skip
def test_a_ray_that_does_not_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, match: str
) -> None:
    import ray

    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(Exception, match=match) as caught:
        ray_address.connect(None)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
@pytest.mark.ray
def test_ray_works_under_a_long_tmpdir(tmp_path: Path) -> None:
    long = tmp_path / ("t" * 120)
    long.mkdir()
    code = (
        "from engine.execution.ray_address import connect; "
        "connect(None, 1); import ray; print(ray.get(ray.remote(lambda: 7).remote())); ray.shutdown()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(long)},
        check=False, timeout=300,
    )  # fmt: skip
    assert done.stdout.strip().endswith("7"), done.stderr[-2000:]
    assert "Ray keeps its sessions in /tmp/ray" in done.stderr
