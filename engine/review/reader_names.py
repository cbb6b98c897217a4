"""The names under which readers answer."""

from __future__ import annotations

import unicodedata
from typing import Final

from engine.artifacts.labels import ORACLE
from engine.artifacts.visible_text import visible
from engine.errors import ConfigError

LONGEST: Final = 60


def reader_name(text: str, where: str = "--reader") -> str:
    """Return a name as answers hold it: composed characters, single spaces.

    Raises:
        ConfigError: it is empty, too long, holds control characters, or is the oracle's.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise ConfigError(f"{where}: is empty; give a name, so that your answers are kept apart from others'")
    if len(name) > LONGEST:
        raise ConfigError(f"{where}: has {len(name)} characters; give at most {LONGEST}")
    if visible(name) != name:
        raise ConfigError(f"{where}: {visible(name)!r} holds control characters; leave them out")
    if name.casefold() == ORACLE:
        raise ConfigError(f"{where}: {name!r} is the name of answers that no person gave; give another")
    return name
