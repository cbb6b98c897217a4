"""Walks an error's chain of causes."""

from __future__ import annotations

from collections.abc import Iterator


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, each once; Ray keeps the cause of a task's error in ``cause``."""
    seen: set[int] = set()
    here: object = error
    while isinstance(here, BaseException) and id(here) not in seen:
        seen.add(id(here))
        if not isinstance(getattr(here, "cause", None), BaseException):
            yield here
        here = getattr(here, "cause", None) or here.__cause__ or here.__context__
