"""Who may talk to the page: a token, the host and origin of a request, and headers that keep everything on this machine.

A page in the same browser may send requests to loopback: under a name of its own that it points to 127.0.0.1 (DNS
rebinding), or as a form of another origin (CSRF). Host and Origin tell those apart, and the token is a second lock.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
ANYWHERE: Final = ("0.0.0.0", "::")
"""Hosts that stand for every address of the machine."""
SAFE_METHODS: Final = ("GET", "HEAD")
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every response, refusals included."""
LANDING: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'
    '<link rel="icon" href="/static/icon.svg"><title>hardcase</title><p><a href="/">Go on to the page</a></p></html>'
)
"""Answers the printed address. A redirect would do, but a browser that came from elsewhere follows it without the cookie."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a request must show: the token, and one of the names the server has.

    Attributes:
        host: what the server is bound to.
        port: its port; cookies are shared by all ports of a host, so their names hold it.
        token: the secret of the printed address, new at every start.
    """

    host: str
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie(self) -> str:
        """Name of the cookie that holds the token after the first page."""
        return f"hardcase_token_{self.port}"

    @property
    def reader_cookie(self) -> str:
        """Name of the cookie that holds the reader's name."""
        return f"hardcase_reader_{self.port}"

    @property
    def address(self) -> str:
        """What a person opens."""
        host = socket.gethostname() if self.host in ANYWHERE else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self.token}"

    def refusal(self, request: Request) -> str | None:
        """Return why a request is refused before its token is looked at; None where it is not."""
        host = request.headers.get("host", "")
        if not self.is_own(host):
            return "the Host header names another server; open the address that hardcase printed"
        if request.method not in SAFE_METHODS:
            if request.headers.get("origin") != f"http://{host}":
                return "the request comes from another page"
            if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
                return "the request comes from another site"
        return None

    def is_own(self, host: str) -> bool:
        """Return whether a Host header names this server; where it listens everywhere, any address without a name does."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = (parts.hostname or "").casefold(), parts.port or 80
        except ValueError:
            return False
        if parts.username is not None or parts.path or port != self.port:
            return False
        if self.host in ANYWHERE:
            return _is_address(name) or name in (*LOOPBACK, socket.gethostname().casefold())
        return name in LOOPBACK if self.host in LOOPBACK else name == self.host.casefold()

    def knows(self, token: str | None) -> bool:
        """Return whether a token is the right one, in constant time."""
        return secrets.compare_digest((token or "").encode(), self.token.encode())


@dataclass(frozen=True)
class Guard:
    """ASGI middleware that lets only requests with ``access`` through and puts HEADERS on every response."""

    app: ASGIApp
    access: Access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, greet the one who brings the token, or pass the request on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here: the server closes the connection

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._answer(Request(scope))
        await (self.app if answer is None else answer)(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """Return the response to a request that goes no further, None where it may."""
        refusal = self.access.refusal(request)
        if refusal is not None:
            return PlainTextResponse(f"refused: {refusal}\n", 403)
        given = request.query_params.get("token")
        if given is not None and request.url.path == "/" and self.access.knows(given):
            landing = HTMLResponse(LANDING)
            landing.set_cookie(self.access.cookie, self.access.token, httponly=True, samesite="strict")
            return landing
        if not self.access.knows(request.cookies.get(self.access.cookie)):
            return PlainTextResponse(
                "refused: open the whole address that hardcase printed, token included; it is new at every start\n",
                403,
            )
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
