"""The page in this process, as Starlette's test client sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from engine import build
from engine.review.access import Access
from engine.review.app import make_app
from engine.review.server import review_desk

ORIGIN = "http://127.0.0.1:8000"
ACCESS = Access(host="127.0.0.1", port=8000)


def client(run: Path, *, reader: str | None = None, show_guess: bool = False) -> TestClient:
    """Return a client without the token."""
    desk = review_desk(build.open_run(run), ACCESS, reader=reader, show_guess=show_guess)
    return TestClient(make_app(desk), base_url=ORIGIN, headers={"origin": ORIGIN}, follow_redirects=False)


def reading(run: Path, name: str = "Ana", *, show_guess: bool = False) -> TestClient:
    """Return a client that opened the printed address and gave a name."""
    found = client(run, show_guess=show_guess)
    assert found.get(f"/?token={ACCESS.token}").status_code == 200
    assert found.post("/reader", json={"name": name}).json() == {"reader": name}
    return found


def answer(page: TestClient, choice: str, *, work: str = "diagnose", reader: str = "Ana") -> dict[str, Any]:
    """Answer about the image that the page shows; return the next task."""
    key = page.get(f"/api/{work}").json()["item"]["key"]
    found = page.post(f"/api/{work}/answer", json={"reader": reader, "key": key, "choice": choice})
    assert found.status_code == 200, found.text
    return dict(found.json())


def undo(page: TestClient, *, work: str = "diagnose", reader: str = "Ana") -> dict[str, Any]:
    """Take the last answer back."""
    key = page.get(f"/api/{work}").json()["last"]["key"]
    found = page.post(f"/api/{work}/undo", json={"reader": reader, "key": key})
    assert found.status_code == 200, found.text
    return dict(found.json())
