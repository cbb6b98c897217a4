"""JSON between the page and the server: what a request may be, and how errors are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse

from engine.artifacts.json_text import parse_json
from engine.artifacts.machine_faults import mendable
from engine.errors import HardcaseError
from engine.review.work import OutdatedError

LONGEST_BODY: Final = 16_384
"""Bytes of a request; an answer has a few hundred."""


def told(
    do: Callable[[], dict[str, Any]], instead: Callable[[], dict[str, Any]] | None = None
) -> JSONResponse:
    """Return what ``do`` returns as JSON; of an error its message, and where the page is outdated what holds now."""
    try:
        return JSONResponse(do())
    except OutdatedError as error:
        return JSONResponse({"error": str(error), "task": instead() if instead else None}, 409)
    except HardcaseError as error:
        return JSONResponse({"error": str(error)}, 500)
    except (OSError, MemoryError) as error:
        known = mendable(error)
        return JSONResponse({"error": str(known or error)}, 500)


async def json_object(request: Request) -> dict[str, Any] | None:
    """Return the JSON object of a request, None where it is none or too long."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return None
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > LONGEST_BODY:
            return None
    try:
        found = parse_json(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
