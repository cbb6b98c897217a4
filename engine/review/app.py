"""The routes of the page: server-rendered templates, and JSON for answers.

Every answer is on the disk before the response that brings the next image. Handlers are plain functions, which Starlette
runs in threads; what writes is guarded by the files' own locks.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from engine.arms import in_words
from engine.artifacts.run_layout import RunLayout
from engine.errors import ConfigError, HardcaseError
from engine.review.access import Access, Guard
from engine.review.exchange import json_object, told
from engine.review.photographs import Photographs
from engine.review.pictures import LARGEST, SMALL
from engine.review.reader_names import reader_name
from engine.review.watching import last_sheet, watched
from engine.review.work import WorkList

HERE: Final = Path(__file__).parent
STATIC: Final = {
    "review.css": "text/css",
    "review.js": "text/javascript",
    "zoom.js": "text/javascript",
    "watch.js": "text/javascript",
    "theme.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
"""Files of the page and their types; nothing else of the folder is served."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What one server offers.

    Attributes:
        run: the run folder.
        access: who may use it.
        photographs: the run's images; None: read-only, the page of the run in progress alone.
        lists: the work lists by name, ``diagnose`` and ``judge``.
        reader: the only reader, or None: each browser is asked for a name.
    """

    run: Path
    access: Access
    photographs: Photographs | None = None
    lists: Mapping[str, WorkList] = field(default_factory=dict)
    reader: str | None = None

    def reader_of(self, request: Request) -> str | None:
        """Return who answers: the server's only reader, or the name that the browser gave."""
        return self.reader or unquote(request.cookies.get(self.access.reader_cookie, "")) or None


def make_app(desk: Desk) -> ASGIApp:
    """Return the guarded application."""
    routes = [
        Route("/watch", functools.partial(_watch, desk)),
        Route("/watch/live", functools.partial(_live, desk)),
        Route("/watch/sheet", functools.partial(_sheet, desk)),
        Route("/static/{name}", _static),
    ]
    if desk.photographs is None:
        routes.append(Route("/", lambda _request: RedirectResponse("/watch", 303)))
    else:
        routes += [
            Route("/", functools.partial(_home, desk)),
            Route("/reader", functools.partial(_set_reader, desk), methods=["POST"]),
            Route("/list/{work}", functools.partial(_work, desk)),
            Route("/api/{work}", functools.partial(_task, desk)),
            Route("/api/{work}/{act}", functools.partial(_act, desk), methods=["POST"]),
            Route("/picture/{key}", functools.partial(_picture, desk)),
            Route("/picture/{key}/small", functools.partial(_small, desk)),
        ]
    return Guard(Starlette(routes=routes), desk.access)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["in_words"] = in_words
    return environment


def _page(template: str, **content: Any) -> HTMLResponse:
    return HTMLResponse(_environment().get_template(template).render(**content))


def _home(desk: Desk, request: Request) -> Response:
    """Ask for the reader's name, or show the work lists."""
    reader = desk.reader_of(request)
    if reader is None or "change" in request.query_params:
        return _page(
            "reader.html.j2", run=desk.run.resolve().name, reader=reader or "", fixed=desk.reader is not None
        )
    try:
        tasks = {}
        for name, work in desk.lists.items():
            work.refresh()
            tasks[name] = work.task(reader)
    except HardcaseError as error:
        return _page("problem.html.j2", run=desk.run.resolve().name, message=str(error))
    return _page(
        "home.html.j2", run=desk.run.resolve().name, reader=reader, tasks=tasks, fixed=desk.reader is not None
    )


def _work(desk: Desk, request: Request) -> Response:
    """The page of one work list; its images come as JSON."""
    name, reader = request.path_params["work"], desk.reader_of(request)
    if name not in desk.lists or desk.photographs is None:
        return PlainTextResponse("no such work list\n", 404)
    if reader is None:
        return RedirectResponse("/", 303)
    names = list(desk.photographs.names.values())
    return _page(
        "work.html.j2",
        run=desk.run.resolve().name,
        reader=reader,
        work=name,
        names=names,
        fixed=desk.reader is not None,
    )


def _task(desk: Desk, request: Request) -> Response:
    """Where the reader stands."""
    reader, work = desk.reader_of(request), desk.lists.get(request.path_params["work"])
    if reader is None or work is None:
        return JSONResponse({"error": "load the page again"}, 404)
    return told(lambda: work.task(reader).to_json())


async def _act(desk: Desk, request: Request) -> Response:
    """Write an answer or take one back; the response is the next task."""
    work, act = desk.lists.get(request.path_params["work"]), request.path_params["act"]
    body = await json_object(request)
    reader = desk.reader_of(request)
    if work is None or act not in ("answer", "undo") or body is None:
        return JSONResponse({"error": "this is no answer; load the page again"}, 400)
    if reader is None or body.get("reader") != reader:
        return JSONResponse({"error": "the reader has changed in another window; load the page again"}, 409)
    key, choice = str(body.get("key", "")), str(body.get("choice", ""))

    def write() -> dict[str, Any]:
        if act == "answer":
            work.answer(reader, key, choice)
        else:
            work.undo(reader, key)
        return work.task(reader).to_json()

    return await run_in_threadpool(told, write, lambda: work.task(reader).to_json())


async def _set_reader(desk: Desk, request: Request) -> Response:
    """Remember a reader's name in the browser."""
    body = await json_object(request)
    try:
        name = reader_name(str((body or {}).get("name", "")), "name")
    except ConfigError as error:
        return JSONResponse({"error": str(error)}, 400)
    if desk.reader is not None:
        return JSONResponse({"error": "the reader was named when the server started"}, 409)
    response = JSONResponse({"reader": name})
    response.set_cookie(desk.access.reader_cookie, quote(name, safe=""), httponly=True, samesite="strict")
    return response


def _picture(desk: Desk, request: Request) -> Response:
    return _image(desk, request.path_params["key"], LARGEST)


def _small(desk: Desk, request: Request) -> Response:
    return _image(desk, request.path_params["key"], SMALL)


def _image(desk: Desk, key: str, side: int) -> Response:
    """Return a picture that the page was told of; its key is looked up and nothing else."""
    try:
        found = None if desk.photographs is None else desk.photographs.pictures.get(key, side)
    except HardcaseError as error:
        return PlainTextResponse(f"{error}\n", 500)
    if found is None:
        return PlainTextResponse("no such picture\n", 404)
    return Response(found.content, media_type=found.media_type)


def _watch(desk: Desk, _request: Request) -> Response:
    return _page(
        "watch.html.j2", run=desk.run.resolve().name, alone=desk.photographs is None, **_content(desk.run)
    )


def _live(desk: Desk, _request: Request) -> Response:
    """The part of the page that is fetched again and again."""
    return _page("live.html.j2", **_content(desk.run))


def _content(run: Path) -> dict[str, Any]:
    return {"w": watched(run)}


def _sheet(desk: Desk, _request: Request) -> Response:
    path = last_sheet(RunLayout(desk.run))
    if path is None:
        return PlainTextResponse("no sheet yet\n", 404)
    return Response(path.read_bytes(), media_type="image/png")


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        return PlainTextResponse("no such file\n", 404)
    return Response((HERE / "static" / name).read_bytes(), media_type=STATIC[name])
