"""Who is refused: no token, another host (DNS rebinding), another origin (CSRF), unknown names; what every response says."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request

from engine.artifacts import labels
from engine.review.access import HEADERS, Access
from tests.engine.review.desk import ACCESS, ORIGIN, client, reading

PAGES = ("/", "/list/diagnose", "/api/diagnose", "/watch", "/watch/live", "/static/review.js", "/nothing")


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_served_without_the_token(made: Path, path: str) -> None:
    page = client(made)
    for address in (path, f"{path}?token=", f"{path}?token={ACCESS.token[:-1]}"):
        found = page.get(address)
        assert found.status_code == 403 and "printed" in found.text
        assert "Images to diagnose" not in found.text and "set-cookie" not in found.headers
    page.cookies.set(ACCESS.cookie, "wrong")
    assert page.get(path).status_code == 403


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address(made: Path) -> None:
    page = client(made)
    found = page.get(f"/?token={ACCESS.token}")
    cookie = found.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and ACCESS.token not in found.text
    assert page.get("/").status_code == 200
    assert len(ACCESS.token) >= 43 and Access(host="127.0.0.1", port=1).token != ACCESS.token


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "evil.example", "127.0.0.1:8001", "127.0.0.1", "127.0.0.1.evil.example:8000",
             "a@127.0.0.1:8000", "127.0.0.1:8000/x", "127.0.0.1:nan", "0.0.0.0:8000", ""],
)  # fmt: skip
def test_another_host_is_refused_with_the_right_cookie(made: Path, host: str) -> None:
    page = reading(made)
    found = page.get("/", headers={"host": host, "cookie": f"{ACCESS.cookie}={ACCESS.token}"})
    assert found.status_code == 403 and "Host header" in found.text


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "https://127.0.0.1:8000", "http://127.0.0.1:9"]
)
def test_another_origin_writes_nothing(run: Path, origin: str | None) -> None:
    page = reading(run)
    key = page.get("/api/diagnose").json()["item"]["key"]
    del page.headers["origin"]
    headers = {} if origin is None else {"origin": origin}
    body = {"reader": "Ana", "key": key, "choice": "label:nv"}
    assert page.post("/api/diagnose/answer", json=body, headers=headers).status_code == 403
    cross = {"origin": ORIGIN, "sec-fetch-site": "cross-site"}
    assert page.post("/api/diagnose/answer", json=body, headers=cross).status_code == 403
    assert labels.read(run) == ()


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b'{"reader":"Ana"}', "text/plain"), (b"reader=Ana", "application/x-www-form-urlencoded"),
     (b"{", "application/json"), (b"[]", "application/json"), (b'{"a":"' + b"x" * 20_000 + b'"}', "application/json"),
     (b"[" * 9_000, "application/json")],
)  # fmt: skip
def test_what_is_no_answer_is_refused(run: Path, content: bytes, kind: str) -> None:
    found = reading(run).post("/api/diagnose/answer", content=content, headers={"content-type": kind})
    assert found.status_code == 400 and labels.read(run) == ()


def test_every_response_carries_the_headers(made: Path) -> None:
    page = reading(made)
    picture = f"/picture/{page.get('/api/diagnose').json()['item']['key']}"
    for address in (*PAGES, picture, "/?token=wrong"):
        found = page.get(address)
        assert {name: found.headers[name] for name in HEADERS} == HEADERS, address
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    for address in PAGES[:2]:
        assert "://" not in page.get(address).text.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/app.py", "/picture/../../etc/passwd",
             "/picture/%2Fetc%2Fpasswd", "/picture/shot_000", "/list/other", "/api/other"],
)  # fmt: skip
def test_no_path_of_the_client_is_opened(made: Path, path: str) -> None:
    assert reading(made).get(path).status_code == 404


def test_names_of_a_server_that_listens_everywhere() -> None:
    access = Access(host="0.0.0.0", port=80)
    assert access.is_own("192.168.1.7") and access.is_own("[fe80::1]:80") and access.is_own("localhost:80")
    assert not access.is_own("evil.example") and not access.is_own("192.168.1.7.evil.example:80")
    named = Access(host="lab.local", port=80)
    assert named.is_own("LAB.local") and not named.is_own("127.0.0.1")


def test_the_token_is_not_in_what_is_printed_of_it() -> None:
    assert ACCESS.token not in repr(ACCESS) and ACCESS.address.endswith(f":8000/?token={ACCESS.token}")
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    assert "Host header" in str(ACCESS.refusal(Request(scope)))
    assert Access(host="::1", port=9).address.startswith("http://[::1]:9/")
