"""Tells what the answer of an object store means: refused, changed by another writer, or worth another attempt."""

from __future__ import annotations

import errno
from typing import Final

from engine.artifacts.secrets import masked
from engine.errors import StoreError

_REFUSED: Final = frozenset({301, 307, 400, 404, 405, 411, 412, 416, 501})
"""HTTP statuses that another attempt does not change."""
_PASSING: Final = frozenset({"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"})
"""Codes of status 400 that it does."""
_CHANGED: Final = frozenset({"PreconditionFailed", "412", "NoSuchKey"})
"""What a write says whose condition does not hold; where an object to be replaced is gone it is NoSuchKey."""
_CREDENTIALS: Final = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class ChangedError(Exception):
    """A conditional write found the object there, or another than was expected."""


def refusal(url: str, error: Exception) -> Exception | None:
    """Return what to raise for an error that another attempt does not change, None for a passing one."""
    if isinstance(error, OSError) and error.errno == errno.EBUSY:  # replaced while it was read
        return None
    status, code = _answer(error)
    if status is None:
        return _unanswered(url, error)
    if code in _CHANGED:
        return ChangedError(str(error))
    said, place = f"{code}: {one_line(error)}", masked(url)
    if code == "NoSuchBucket":
        bucket = url.partition("://")[2].partition("/")[0]
        found = (
            f"{place}: there is no bucket {bucket}; make it, or give another output (AWS_ENDPOINT_URL names another server "
            "than Amazon's)"
        )
    elif status in (401, 403) or isinstance(error, PermissionError):
        found = f"{place}: the server refuses ({said}); {_CREDENTIALS} of somebody who may read, write and list there"
    elif status in _REFUSED and code not in _PASSING:
        found = f"{place}: the server refuses the request ({said}); check the address, AWS_ENDPOINT_URL and AWS_REGION"
    else:
        return None
    return StoreError(found)


def _unanswered(url: str, error: Exception) -> Exception | None:
    """Return what to raise for an error that no server answered with, None for one of the network."""
    import botocore.exceptions as boto
    from s3fs.core import S3_RETRYABLE_ERRORS

    place = masked(url)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.ProfileNotFound):
        return StoreError(f"{place}: no credentials were found ({one_line(error)}); {_CREDENTIALS}")
    if isinstance(error, ValueError):  # of the address of a server, or of a region
        return StoreError(f"{place}: {one_line(error)}; check AWS_ENDPOINT_URL and AWS_REGION")
    passing = (*S3_RETRYABLE_ERRORS, boto.BotoCoreError, ConnectionError, TimeoutError)
    return None if isinstance(error, passing) else error


def answered(error: BaseException) -> bool:
    """Return whether a server gave this answer."""
    return _answer(error)[0] is not None


def no_bucket(error: FileNotFoundError) -> bool:
    """Return whether it is not the object but its bucket that is absent."""
    return _answer(error)[1] == "NoSuchBucket"


def one_line(error: BaseException) -> str:
    """Return what an error says, in one line without secrets."""
    return masked(" ".join(str(error).split())[:200] or type(error).__name__)


def _answer(error: BaseException) -> tuple[int | None, str]:
    """Return the HTTP status and S3's code behind an error, (None, "") where no server answered."""
    here: BaseException | None = error
    while here is not None:
        response = getattr(here, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status, str(response.get("Error", {}).get("Code", ""))
        here = here.__cause__
    return None, ""
