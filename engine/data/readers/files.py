"""Finds image and mask files below a data folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from engine.artifacts.own_output import Passed, below, is_own
from engine.data.names import LONGEST_NAME
from engine.data.readers.image_names import (
    HIDDEN,
    IMAGE_SUFFIXES,
    MAPS,
    OTHER_SUFFIXES,
    SPECIAL,
    UNREAD,
    image_of_mask,
    is_image_name,
    nearest_mask,
    require_unicode,
    sort_out,
)  # fmt: skip
from engine.errors import DataError

FIRST_FOLDERS = ("images", "HAM10000_images_part_1", "HAM10000_images_part_2", "")
"""Where an image is taken from first when a file of its name lies in several folders."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """The image and mask files below ``root``, sorted; paths are absolute.

    ``maps`` are superpixels and the like, ``by_ending`` and ``by_folder`` those masks and maps that a table may name as
    images nonetheless. ``hidden`` and ``special`` count what is named like an image: hidden files, and pipes, sockets and
    devices; ``unread`` counts pictures of other kinds.
    """

    root: Path
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    maps: tuple[Path, ...] = ()
    by_ending: tuple[Path, ...] = ()
    by_folder: tuple[Path, ...] = ()
    hidden: int = 0
    special: int = 0
    unread: int = 0

    @property
    def left_out(self) -> dict[str, int]:
        """Counts of what is neither an image nor a mask, by what it is."""
        counts = {HIDDEN: self.hidden, SPECIAL: self.special, MAPS: len(self.maps), UNREAD: self.unread}
        return {what: count for what, count in counts.items() if count}

    def image_paths(self, stems: Iterable[str]) -> list[str]:
        """Return the image file of each name, "" where there is none; upper and lower case count where both are there.

        Raises:
            DataError: two files in one folder have this name and other suffixes.
        """
        found: dict[str, Path] = {}
        wanted = set(stems := list(stems))
        for path in sorted(self.images, key=lambda p: (_rank(self.root, p), p.as_posix())):
            first = found.setdefault(path.stem, path)
            if first is not path and first.parent == path.parent and path.stem in wanted:
                raise DataError(
                    f"{first}: {path.name} beside it is an image of the same name; remove one, or rename it"
                )
        for path in self.by_ending:
            found.setdefault(path.stem, path)
        folded = {stem.casefold(): path for stem, path in reversed(found.items())}
        return [str(found.get(stem, folded.get(stem.casefold(), ""))) for stem in stems]

    def mask_paths(self, images: Iterable[str]) -> list[str]:
        """Return the mask of each image file ("" where none): of several that which lies nearest, then the first."""
        named: dict[str, list[Path]] = {}
        for mask in self.masks:
            named.setdefault(image_of_mask(mask), []).append(mask)
        paths = [Path(image) for image in images]
        return [str(nearest_mask(path, named.get(path.stem, []))) if path.name else "" for path in paths]


_listed: ContextVar[dict[Path, Files] | None] = ContextVar("listed", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """List no folder twice inside: a folder of an archive takes seconds, on a network disk more."""
    token = _listed.set({})
    try:
        yield
    finally:
        _listed.reset(token)


def find_files(root: Path) -> Files:
    """List image and mask files anywhere below ``root`` (DataError where a name is no UTF-8)."""
    known = _listed.get()
    if known is None:
        return _find_files(root)
    if root not in known:
        known[root] = _find_files(root)
    return known[root]


def _find_files(root: Path) -> Files:
    passed = Passed()
    paths = sorted(below(root, passed))
    named = [path for path in paths if is_image_name(path)]
    require_unicode(named)
    found = sort_out(named, root)
    return Files(
        root=root,
        images=found.images,
        masks=found.masks,
        maps=found.maps,
        by_ending=found.by_ending,
        by_folder=found.by_folder,
        hidden=sum(map(is_image_name, passed.hidden)),
        special=sum(map(is_image_name, passed.special)),
        unread=sum(path.suffix.lower() in OTHER_SUFFIXES for path in paths),
    )


def walk(root: Path) -> list[Path]:
    """List every file below ``root``, sorted; hidden ones and what hardcase wrote there are left out."""
    return sorted(below(root))


def require_folder(root: str) -> Path:
    """Return ``data.root`` as an absolute folder.

    Raises:
        DataError: it does not exist, is not a folder, or is empty.
    """
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"data.root: {folder} {what}; give the folder the data lies in")
    if not any(folder.iterdir()):
        raise DataError(f"data.root: {folder} is empty; put the data there or give another folder")
    return folder


def require_images(files: Files) -> Files:
    """Raise DataError where no image lies below the folder."""
    if not files.images:
        inner = sorted(path for path in files.root.iterdir() if path.is_dir())
        own = next(
            (f" (what hardcase wrote, {path.name}, is not read)" for path in inner if is_own(path)), ""
        )
        raise DataError(
            f"data.root: {files.root} holds no image ({' '.join(IMAGE_SUFFIXES)}) in it or below{own}; "
            "give the folder the images lie in"
        )
    return files


def one_file(folder: Path, patterns: Sequence[str], what: str, remedy: str) -> Path:
    """Return the only file in ``folder`` that matches; DataError where there is none or more than one."""
    found = sorted(
        {p for pattern in patterns for p in folder.glob(pattern) if p.is_file() and p.name[0] != "."}
    )
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"{folder}: no {what} ({' or '.join(patterns)}) lies there; {remedy}")
    raise DataError(f"{folder}: more than one {what}: {', '.join(p.name for p in found)}; {remedy}")


def _rank(root: Path, path: Path) -> int:
    folder = path.parent.relative_to(root).as_posix()
    name = "" if folder == "." else folder
    return FIRST_FOLDERS.index(name) if name in FIRST_FOLDERS else len(FIRST_FOLDERS)


def names_of(root: Path, paths: Sequence[Path]) -> list[str]:
    """Name images by their file's stem or, where stems repeat, by their path below ``root`` joined with ``__``."""
    bare = [path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path for path in paths]
    stems = [path.name for path in bare]
    if len(set(stems)) == len(stems):
        return stems
    return [_shortened("__".join(path.relative_to(root).parts)) for path in bare]


def _shortened(name: str) -> str:
    """Return a joined name that still fits a file's name: its end, and a digest of the whole where it is longer."""
    text = name.encode("utf-8", errors="surrogateescape")
    if len(text) <= LONGEST_NAME:
        return name
    end = text[-(LONGEST_NAME - 18) :].decode("utf-8", errors="ignore")
    return f"{hashlib.sha256(text).hexdigest()[:16]}__{end}"
