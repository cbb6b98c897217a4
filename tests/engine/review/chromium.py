"""Drives a headless Chromium over its debugging pipe: real key presses, real pointers, screenshots. No further package."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
    "--hide-scrollbars",
)  # fmt: skip
KEYS = {"Escape": 27, "Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39}
PATIENCE = 120.0


class PageLeftError(AssertionError):
    """The page was left for another one while it was asked."""


@dataclass
class Chromium:
    """One browser process; ``console`` and ``requested`` get (page's session, what it logged or asked for)."""

    into: int
    out: int
    console: list[tuple[str, str]] = field(default_factory=list)
    requested: list[tuple[str, str]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    buffer: bytes = b""

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params} | (
            {"sessionId": session} if session else {}
        )
        os.write(self.into, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for found in self._messages(until):
                if found.get("id") == number:
                    if "navigated or closed" in found.get("error", {}).get("message", ""):
                        raise PageLeftError(found)
                    assert "error" not in found, found
                    return dict(found["result"])
        raise AssertionError(f"no answer to {method}")

    def _messages(self, until: float) -> Iterator[dict[str, Any]]:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.out], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return
            self.buffer += os.read(self.out, 1 << 20)
        first, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(first)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append((message.get("sessionId", ""), json.dumps(message["params"])[:400]))
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append((message.get("sessionId", ""), message["params"]["request"]["url"]))
        yield message

    def page(self, *, private: bool = False) -> Page:
        """Open a page; ``private``: with cookies of its own, as another person's browser."""
        context = (
            {"browserContextId": self.call("Target.createBrowserContext")["browserContextId"]}
            if private
            else {}
        )
        target = self.call("Target.createTarget", url="about:blank", **context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        return page


@dataclass
class Page:
    """One tab."""

    browser: Chromium
    session: str

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **params)

    @property
    def console(self) -> list[str]:
        """What this page logged, errors and blocked requests included; pages of ended servers log beside it."""
        return [text for session, text in self.browser.console if session == self.session]

    @property
    def requested(self) -> list[str]:
        """The addresses that this page asked for."""
        return [address for session, address in self.browser.requested if session == self.session]

    def open(self, address: str) -> None:
        """Go to an address and wait until it, and what it forwards to, is loaded."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && !document.querySelector('meta[http-equiv]')")

    def value(self, script: str) -> Any:
        """Return what an expression yields."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true; a page that changes meanwhile is asked again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
            except PageLeftError:
                found = {"result": {}}
            if found["result"].get("value") is True:
                return
            time.sleep(0.02)
        raise AssertionError(f"never true: {script}; {self.console}; {self.value('document.body.innerText')}")

    def press(self, key: str) -> None:
        """Press and release one key."""
        text = {"text": "\r"} if key == "Enter" else {} if len(key) > 1 else {"text": key}
        code = {"windowsVirtualKeyCode": KEYS.get(key, ord(key.upper()[0]))}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        box = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def screen(self, width: int, height: int, *, touch: bool = False, dark: bool = False) -> None:
        """Take the size of a screen, its pointer and its theme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=touch,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save a screenshot; ``whole``: also what lies below the window."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """Start a browser with an empty profile and end it."""
    to_browser, into = os.pipe()
    out, from_browser = os.pipe()

    def place() -> None:  # Chromium reads descriptor 3 and writes descriptor 4
        read, write = os.dup(to_browser), os.dup(from_browser)
        os.dup2(read, 3)
        os.dup2(write, 4)

    process = subprocess.Popen(
        [str(BROWSER), *FLAGS, f"--user-data-dir={profile}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=place,  # noqa: PLW1509  no other thread of these tests forks
        close_fds=False,
        start_new_session=True,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Chromium(into, out)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(into)
        os.close(out)
