"""Paths in a config: ``~`` and ``$VARIABLES`` as a shell takes them, refused where they stand for nothing here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_FILE_ADDRESS: Final = re.compile(r"(sqlite:///|file:(?://)?)(?=[~$])")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_URL_AS_PATH: Final = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(.*)")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+")
STORE_SCHEME: Final = "s3"
"""The one kind of object store whose conditional writes are relied on."""
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def checked(value: Any) -> Any:
    """Return a path with its variables replaced; ``~`` stays as written, whoever opens the path expands it.

    Weights and data were always named so: a path that is part of a cache key must not change its text.

    Raises:
        ValueError: a variable is not set, or ``~`` stands for no folder.
    """
    if not isinstance(value, str):
        return value
    text = _with_variables(value)
    _home(text)
    return text


def expanded(value: Any) -> Any:
    """Return a path with its variables and its ``~`` replaced (ValueError as ``checked``)."""
    return _home(_with_variables(value)) if isinstance(value, str) else value


def expanded_address(value: Any) -> Any:
    """Return the address of a tracking server or database; only a path, or a file's address, is expanded.

    What another address holds is left alone: its password may have a ``$``.
    """
    if not isinstance(value, str):
        return value
    if found := _FILE_ADDRESS.match(value):
        return found[1] + expanded(value[found.end() :])
    return value if _ADDRESS.match(value) else expanded(value)


def is_url(text: str) -> bool:
    """Return whether an output or a run is named by a URL."""
    return bool(_URL.match(text))


def url_of(path: Path | str) -> str | None:
    """Return the URL that a command was given as a path (which has one slash left of two), None for a path."""
    found = _URL_AS_PATH.match(str(path))
    return f"{found[1]}://{found[2].rstrip('/')}" if found else None


def url_problem(url: str) -> str:
    """Say why nothing can lie at a URL, "" where it can."""
    if not url.startswith(f"{STORE_SCHEME}://"):
        return (
            f"is a URL, and of these only {STORE_SCHEME}://BUCKET/PREFIX can hold runs (they need its conditional writes); "
            "give one, or a folder that every worker can reach (a shared or mounted disk)"
        )
    rest = url.removeprefix(f"{STORE_SCHEME}://")
    if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
        return (
            "holds credentials or parameters; give s3://BUCKET/PREFIX alone, and credentials by AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not _BUCKET.fullmatch(rest.partition("/")[0]):
        return "names no bucket; give s3://BUCKET/PREFIX"
    if "//" in rest or set(rest.split("/")) & {".", ".."}:
        return "has an empty part, . or .. in its prefix; give s3://BUCKET/PREFIX"
    return ""


LOCAL: Final = BeforeValidator(checked)
Place = Annotated[str, LOCAL]
"""A path, or the name of something in a library, under which stages find what they read."""
Folder = Annotated[str, BeforeValidator(expanded)]
"""A path that the config names whole."""
Address = Annotated[str, BeforeValidator(expanded_address)]
"""A path, or the address of a server or database."""


def _with_variables(text: str) -> str:
    """Replace $NAME and ${NAME}; the beginning of the path that exists as it is written is taken as written."""
    kept = _existing(text) if "$" in text else text

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ValueError(
                f"{text} names the environment variable {name}, which is not set here; set it, or write the path out"
            )
        return os.environ[name]

    return kept + _VARIABLE.sub(value, text[len(kept) :])


def _existing(text: str) -> str:
    """Return the longest beginning of whole folder names that exists, "" where the first does not."""
    ends = [at for at, sign in enumerate(text) if sign == "/" and at > 0] + [len(text)]
    return next((text[:end] for end in reversed(ends) if os.path.lexists(text[:end])), "")


def _home(text: str) -> str:
    """Replace a leading ``~`` or ``~user``."""
    if not text.startswith("~") or os.path.lexists(text):
        return text
    path = os.path.expanduser(text)  # noqa: PTH111  (the method's error names neither the path nor the remedy)
    if path.startswith("~"):
        raise ValueError(
            f"{text} begins with ~ but {text.partition('/')[0]} is nobody's home folder here; write the path out, "
            f"or ./{text} for a folder of that name"
        )
    return path
