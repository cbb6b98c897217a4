"""The door to finished files: sizes are compared each time, checksums once per process; what differs is named.

A stage folder is held against its manifest ``stage.json``. The files of a run folder are held against ``checksums.json``
in it, where it has one: for each file the checksum it has and the one it is about to get.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.artifacts import checksums_json, stage_manifest
from engine.artifacts.digests import checksum
from engine.artifacts.json_record import JsonRecord
from engine.artifacts.run_layout import RunLayout
from engine.artifacts.secrets import masked
from engine.artifacts.stage_manifest import StageManifest
from engine.artifacts.whole_files import write_text
from engine.errors import DamagedError, DataError
from engine.store.files import checksums


def sizes_of(folder: Path, files: Iterable[str]) -> dict[str, int]:
    """Return {file: bytes} of files below ``folder``."""
    return {name: (folder / name).stat().st_size for name in files}


def damaged_file(stage: Path, manifest: StageManifest, *, thorough: bool) -> str | None:
    """Return the first file of a stage that differs from its manifest, None where none does.

    Sizes are compared always, checksums where ``thorough``.
    """
    files = manifest.files
    for name, size in manifest.sizes.items():
        path = stage / name
        if not path.is_file() or path.stat().st_size != size:
            return name
    if not thorough:
        return next((name for name in files if not (stage / name).is_file()), None)
    found = checksums(stage)
    found.pop(stage_manifest.FILE, None)
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
            known[name] = (*(old for old in known.get(name, ())[-1:] if old != digest), digest)
            self.verified.discard(name)
        checksums_json.write(known, self.run)

    def write(self, path: Path, text: str) -> None:
        """Write a text file of the run folder whole, its checksum noted first."""
        text = masked(text)
        self.expect({path: hashlib.sha256(text.encode()).hexdigest()})
        write_text(path, text)

    def put(self, record: JsonRecord, folder: Path) -> None:
        """Write a record into the run folder or a folder below it, its checksum noted first."""
        self.write(record.path(folder), record.file_text())

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
            if not self._as_noted(path, known[name]):
                raise DamagedError(
                    f"{path}: is damaged (its checksum differs from {checksums_json.FILE}); {self._remedy(name)}"
                )
            self.verified.add(name)

    def _as_noted(self, path: Path, noted: tuple[str, ...]) -> bool:
        """Whether a file has a checksum that is noted; one that a run replaces meanwhile is looked at again.

        A run notes what a file is about to be before it writes: where the notes have not changed the file is damaged.
        """
        name = path.relative_to(self.run).as_posix()
        while True:
            try:
                found = checksum(path)
            except FileNotFoundError:  # removed meanwhile
                return True
            if found in noted:
                return True
            before, noted = noted, self._known().get(name, ())
            if noted == before:
                return False

    def _remedy(self, name: str) -> str:
        config = RunLayout(self.run).config
        if name == config.name:
            return "give it back the content the run was made by, or run again with name=OTHER"
        return f"remove it and run `hardcase run {shlex.quote(str(config))}` to make it again"

    def _known(self) -> dict[str, tuple[str, ...]]:
        try:
            return checksums_json.read_if_written(self.run)
        except DataError:
            path = RunLayout(self.run).checksums
            raise DamagedError(f"{path}: holds no checksums; {self._remedy(path.name)}") from None
