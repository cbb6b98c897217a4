"""Binds the page to an address and serves it until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from engine.artifacts import labels
from engine.errors import ConfigError
from engine.review.access import LOOPBACK, Access
from engine.review.app import Desk, make_app
from engine.review.diagnosing import Diagnosing
from engine.review.judging import Judging
from engine.review.photographs import Photographs
from engine.review.pictures import Pictures
from engine.review.work import WorkList
from engine.store import RunFolder


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the server listens; port 0: a free one."""

    host: str = "127.0.0.1"
    port: int = 0

    @property
    def open_to_others(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in LOOPBACK


def review_desk(run: RunFolder, access: Access, *, reader: str | None, show_guess: bool) -> Desk:
    """Return both work lists of a run (DataError: questions, verdicts, or the stages they need are damaged or gone)."""
    labels.read(run.path)  # a damaged file is named before the first answer
    photographs = Photographs(run, Pictures())
    lists: dict[str, WorkList] = {
        "diagnose": Diagnosing(run, photographs, show_guess=show_guess),
        "judge": Judging(run, photographs, show_guess),
    }
    return Desk(run=run.path, access=access, photographs=photographs, lists=lists, reader=reader)


def watch_desk(run: Path, access: Access) -> Desk:
    """Return the page of the run in progress alone."""
    return Desk(run=run, access=access)


def serve(
    place: Place, desk: Callable[[Access], Desk], say: Callable[[str], None], *, open_browser: bool = False
) -> None:
    """Serve until Ctrl-C, which ends it well; ``say`` is told the address once the server accepts connections.

    Raises:
        ConfigError: the address cannot be used.
        StoppedError: SIGTERM or SIGHUP.
    """
    with listen(place) as listening:
        access = Access(host=place.host, port=listening.getsockname()[1])
        config = uvicorn.Config(
            make_app(desk(access)),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        listening.listen(128)
        say(access.address)
        if open_browser:
            webbrowser.open(access.address)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def listen(place: Place) -> socket.socket:
    """Return a socket that is bound to the address (ConfigError: it cannot be)."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--host {place.host} --port {place.port}: cannot be used ({error}); leave them out for a free port on loopback"
        ) from None
    return listening
