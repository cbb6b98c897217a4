"""A private PostgreSQL and an MLflow server before it, on loopback, both to be killed and started again."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("initdb", "pg_ctl")
TRIES = 5
SECONDS = 240.0
"""Longest start of a server; importing MLflow takes half a minute on a busy machine."""


def programs() -> dict[str, str]:
    """Return where PostgreSQL's programs lie; skip the test where they are not installed."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", "")])
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    if not all(found.values()):
        pytest.skip("PostgreSQL (initdb, pg_ctl) is not installed")
    pytest.importorskip("psycopg2", reason="psycopg2-binary (extra dev) is not installed")
    return {name: str(place) for name, place in found.items()}


def as_a_user() -> list[str]:
    """Return what goes before a command of PostgreSQL, which refuses root; skip where there is no other user."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_a_free_port(place: Cluster | Server, may_be_taken: Callable[[], bool]) -> None:
    """Start it, on another port where another process took this one since it was found free.

    ``may_be_taken`` is asked after a failed start; what else failed is raised.
    """
    for left in reversed(range(TRIES)):
        try:
            place.start()
            break
        except AssertionError:
            if not left or not may_be_taken():
                raise
            place.kill()
            place.port = free_port()


class Cluster:
    """A database cluster of its own in ``home``; ``uri`` is for SQLAlchemy."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.programs, self.before = programs(), as_a_user()
        if self.before:
            shutil.chown(home, "postgres", "postgres")
        self._run("initdb", "-U", "hardcase", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg2://hardcase@127.0.0.1:{self.port}/postgres"

    def first_start(self) -> None:
        """Start it, on another port where another process took this one since it was found free."""
        on_a_free_port(self, lambda: True)

    def start(self) -> None:
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self.home}"
        self._run("pg_ctl", "-w", "-t", "120", "-l", str(self.home / "log"), "-o", settings, "start")

    def kill(self) -> None:
        """End it as a crash does: the next start recovers from its log."""
        self._run("pg_ctl", "-m", "immediate", "stop", check=False)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [*self.before, self.programs[program], "-D", str(self.home / "data"), *arguments]
        done = subprocess.run(
            command, cwd="/", check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert not check or done.returncode == 0, done.stderr


class Server:
    """`mlflow server` before a database, with artifacts in a folder."""

    def __init__(self, database: str, artifacts: Path, log: Path) -> None:
        self.database, self.artifacts, self.log, self.port = database, artifacts, log, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def upgrade(self) -> None:
        mlflow = [sys.executable, "-m", "mlflow"]
        subprocess.run([*mlflow, "db", "upgrade", self.database], check=True, capture_output=True)

    def first_start(self) -> None:
        """Start it, on another port where it ends because another process took this one since it was found free."""
        on_a_free_port(self, lambda: self.process is not None and self.process.poll() is not None)

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.database, "--host", "127.0.0.1",
            "--port", str(self.port), "--artifacts-destination", str(self.artifacts), "--workers", "1",
        ]  # fmt: skip
        quick = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=quick
            )
        end = time.monotonic() + SECONDS
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()[-2000:]
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill it and its workers at once, in the middle of whatever they do."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def cluster_and_server() -> Iterator[tuple[Cluster, Server]]:
    """Yield both, running; pytest's own folders are closed to other users, so they live in one beside."""
    programs(), as_a_user()
    place = Path(tempfile.mkdtemp(prefix="hardcase-postgres-"))
    place.chmod(0o755)
    try:
        (place / "cluster").mkdir()
        cluster = Cluster(place / "cluster")
        with contextlib.ExitStack() as running:
            running.callback(cluster.kill)
            cluster.first_start()
            server = Server(cluster.uri, place / "artifacts", place / "mlflow.log")
            running.callback(server.kill)
            server.first_start()
            yield cluster, server
    finally:
        shutil.rmtree(place, ignore_errors=True)
