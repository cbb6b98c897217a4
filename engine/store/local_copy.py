"""Where an output lies on this machine: the folder itself, or the local copy of an object store in the scratch folder.

A local copy looks like any output folder. ``.store.json`` in it says what it is a copy of.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import filelock

from engine.artifacts.json_text import parse_json
from engine.artifacts.own_output import mark
from engine.artifacts.secrets import masked
from engine.artifacts.whole_files import write_text
from engine.config import BackendConfig, Config
from engine.config.places import is_url, url_problem
from engine.errors import ConfigError, DataError
from engine.store.files import ensure_writable
from engine.store.object_store import ObjectStore, open_store

MARKER: Final = ".store.json"
SCRATCH: Final = "HARDCASE_SCRATCH"
GIGABYTES: Final = BackendConfig.model_fields["scratch_gb"].default


@dataclass(frozen=True, kw_only=True)
class LocalCopy:
    """The local copy of ``url`` in ``folder``; ``owner`` is its id in leases, ``gigabytes`` what stages may take."""

    folder: Path
    url: str
    owner: str
    gigabytes: float

    @property
    def store(self) -> ObjectStore:
        """What it is a copy of."""
        return open_store(self.url)

    @property
    def scratch(self) -> Path:
        """The folder of all local copies of this machine."""
        return self.folder.parent


def local_output(config: Config) -> Path:
    """Return the folder in which the runs and the stages of a config lie on this machine; nothing is made."""
    if not is_url(config.output):
        return Path(config.output)
    return _folder(config.output, scratch_folder(config.backend.scratch))


def open_output(config: Config) -> Path:
    """Return the folder of ``local_output``; a local copy is made where there is none yet.

    Raises:
        ConfigError: no object can lie at the URL.
        DataError: the scratch folder cannot be written.
    """
    if not is_url(config.output):
        return Path(config.output)
    return open_copy(config.output, config.backend.scratch, config.backend.scratch_gb).folder


def open_copy(url: str, scratch: str | None = None, gigabytes: float = GIGABYTES) -> LocalCopy:
    """Return the local copy of a URL, made where there is none yet.

    Raises:
        ConfigError: no object can lie at the URL.
        DataError: the scratch folder cannot be written.
    """
    if problem := url_problem(url):
        raise ConfigError(f"output: {masked(url)} {problem}")
    root = scratch_folder(scratch)
    ensure_writable(root, "backend.scratch")
    mark(root, "stages")
    folder = _folder(url, root)
    folder.mkdir(exist_ok=True)
    with filelock.FileLock(folder / f"{MARKER}.lock"):
        known = copy_in(folder)
        owner = known.owner if known is not None else uuid.uuid4().hex
        copy = LocalCopy(folder=folder, url=url.rstrip("/"), owner=owner, gigabytes=gigabytes)
        if copy != known:
            facts = {"url": copy.url, "owner": owner, "gigabytes": gigabytes}
            write_text(folder / MARKER, json.dumps(facts) + "\n")
    return copy


def copy_in(folder: Path) -> LocalCopy | None:
    """Return the local copy that lies in ``folder``, None where that is an output of its own."""
    try:
        facts = parse_json((folder / MARKER).read_text(encoding="utf-8"))
        return LocalCopy(folder=folder, url=facts["url"], owner=facts["owner"], gigabytes=facts["gigabytes"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{folder / MARKER}: cannot be read ({error}); remove it and rerun") from None


def scratch_folder(given: str | None) -> Path:
    """Return the folder of local copies: the one given, HARDCASE_SCRATCH, or the platform's cache folder."""
    if found := given or os.environ.get(SCRATCH):
        return Path(found).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("hardcase", appauthor=False))


def _folder(url: str, scratch: Path) -> Path:
    url = url.rstrip("/")
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return scratch / f"{re.sub(r'[^A-Za-z0-9]+', '-', url.partition('://')[2])[:60]}-{digest}"
