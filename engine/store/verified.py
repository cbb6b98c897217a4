"""The door to finished files: sizes are compared each time, checksums once per process; what differs is named.

A stage folder is held against its manifest ``stage.json``. The files of a run folder are held against ``checksums.json``
in it, where it has one: for each file the checksum it has and the one it is about to get.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.artifacts.digests import checksum
from engine.artifacts.secrets import masked
from engine.artifacts.whole_files import write_text
from engine.errors import DamagedError
from engine.store.files import checksums, read_json, write_json

MANIFEST = "stage.json"
PUBLISHED = "checksums.json"


def read_manifest(stage: Path) -> dict[str, Any] | None:
    """Return a stage's manifest: seconds, files {name: SHA-256}, sizes {name: bytes}; None: absent or damaged."""
    try:
        manifest = json.loads((stage / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or manifest.pop("digest", None) not in (None, digest_of(manifest)):
        return None
    if type(manifest.get("seconds")) not in (int, float):
        return None
    files, sizes = manifest.get("files"), manifest.setdefault("sizes", {})
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        return None
    if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
        return None
    return manifest


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the checksum of a manifest's own content, kept in it as ``digest``."""
    plain = json.loads(json.dumps(manifest))  # keys as they are read back
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sizes_of(folder: Path, files: Iterable[str]) -> dict[str, int]:
    """Return {file: bytes} of files below ``folder``."""
    return {name: (folder / name).stat().st_size for name in files}


def damaged_file(stage: Path, manifest: Mapping[str, Any], *, thorough: bool) -> str | None:
    """Return the first file of a stage that differs from its manifest, None where none does.

    Sizes are compared always, checksums where ``thorough``.
    """
    files: Mapping[str, str] = manifest["files"]
    for name, size in manifest["sizes"].items():
        path = stage / name
        if not path.is_file() or path.stat().st_size != size:
            return str(name)
    if not thorough:
        return next((name for name in files if not (stage / name).is_file()), None)
    found = checksums(stage)
    found.pop(MANIFEST, None)
    return next((n for n in sorted(found.keys() | files.keys()) if found.get(n) != files.get(n)), None)


@dataclass(frozen=True)
class PublishedFiles:
    """The checksums of what a run folder holds; a folder of an earlier version has none, and nothing is compared."""

    run: Path
    verified: set[str] = field(default_factory=set)

    def expect(self, files: Mapping[Path, str]) -> None:
        """Note the checksums that files of the run folder are about to get; the ones they have stay valid until then."""
        if not files:
            return
        known = self._known()
        for path, digest in files.items():
            name = path.relative_to(self.run).as_posix()
            known[name] = [*(old for old in known.get(name, [])[-1:] if old != digest), digest]
            self.verified.discard(name)
        write_json(self.run / PUBLISHED, {"files": dict(sorted(known.items()))})

    def write(self, path: Path, text: str) -> None:
        """Write a text file of the run folder whole, its checksum noted first."""
        text = masked(text)
        self.expect({path: hashlib.sha256(text.encode()).hexdigest()})
        write_text(path, text)

    def verify(self, wanted: Iterable[str] | None = None, suffixes: tuple[str, ...] = ()) -> None:
        """Compare files that are there with what was noted, once per object.

        Args:
            wanted: names below the run folder; None: every noted file with one of ``suffixes``.
            suffixes: for example ``(".json",)``.

        Raises:
            DamagedError: a file differs; names it and the command that makes it again.
        """
        known = self._known()
        names = [name for name in known if name.endswith(suffixes)] if wanted is None else wanted
        for name in names:
            path = self.run / name
            if name in self.verified or name not in known or not path.is_file():
                continue
            if checksum(path) not in known[name]:
                raise DamagedError(
                    f"{path}: is damaged (its checksum differs from {PUBLISHED}); {self._remedy(name)}"
                )
            self.verified.add(name)

    def _remedy(self, name: str) -> str:
        if name == "config.yaml":
            return "give it back the content the run was made by, or run again with name=OTHER"
        return f"remove it and run `hardcase run {self.run / 'config.yaml'}` to make it again"

    def _known(self) -> dict[str, list[str]]:
        path = self.run / PUBLISHED
        if not path.exists():
            return {}
        stored = read_json(path)
        files = stored.get("files") if isinstance(stored, dict) else None
        if not isinstance(files, dict) or not all(
            isinstance(digests, list) and all(isinstance(d, str) for d in digests)
            for digests in files.values()
        ):
            raise DamagedError(f"{path}: holds no checksums; {self._remedy(PUBLISHED)}")
        return dict(files)
