"""Masks user, password and tokens of addresses: all text that is written, printed or logged goes through here."""

from __future__ import annotations

import logging
import re
from typing import Final

from engine.artifacts.visible_text import visible

MASK: Final = "***"
_USER: Final = re.compile(r"(://)[^/?#\s\"'<>]*@")
"""User and password of an address: what stands before the last @ of its host part."""
_PARAMETER: Final = re.compile(
    r"([?&;](?!viewStateShareKey=)[\w.-]*(?:token|passw|pwd|secret|key|sig|auth|credential)[\w.-]*=)[^&;\s\"'#<>]+",
    re.IGNORECASE,
)
"""A parameter of an address whose name says that it is secret; the name of a view in MLflow's pages is none."""


def masked(text: str) -> str:
    """Return text with user, password and secret parameters of every address in it replaced by ``***``."""
    if "://" not in text and "=" not in text:
        return text
    return _PARAMETER.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", text))


def without_secrets(uri: str) -> str:
    """Return an address without what is secret or masked in it: it can be opened, with credentials from elsewhere."""
    bare = masked(uri).replace(f"{MASK}@", "")
    bare = re.sub(rf"(?<=[?&;])[\w.-]+={re.escape(MASK)}[&;]?", "", bare)
    return bare.rstrip("?&;")


class _Masking(logging.Filter):
    """Masks the message of every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the message by its masked text, control characters written out; keep the record."""
        record.msg, record.args = visible(masked(record.getMessage())), ()
        return True


def masking_logger(name: str) -> logging.Logger:
    """Return the logger of a name, whose messages are masked."""
    logger = logging.getLogger(name)
    if not any(isinstance(known, _Masking) for known in logger.filters):
        logger.addFilter(_Masking())
    return logger
