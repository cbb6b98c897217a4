"""Tells images from lesion masks and other maps that lie beside them, by names, and says what is left out.

Endings in use: ``ISIC_0000000_Segmentation.png`` (ISIC 2016), ``_segmentation.png`` (ISIC 2017, 2018, HAM10000),
``_superpixels.png`` (ISIC 2017), ``_attribute_globules.png`` (ISIC 2018, task 2), ``IMD002_lesion.bmp`` and
``IMD002_R1_Label4.bmp`` (PH2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from engine.errors import DataError

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
OTHER_SUFFIXES: Final = (
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".dcm", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".psd",
)  # fmt: skip
"""Of pictures that are not read, and are counted so that nobody misses them."""
HIDDEN, SPECIAL = "hidden", "pipes, sockets or devices"
MASKS, MAPS = "masks", "superpixels or other maps"
UNREAD = "of kinds that are not read (HEIC, GIF, DICOM, raw)"
FRAMES = "with further frames (the first is read)"
"""What is left out of a folder of images and counted."""
SINGULAR: Final = {MASKS: "mask", MAPS: "superpixel or other map", SPECIAL: "pipe, socket or device"}
Kind = Literal["image", "mask", "map"]

_MASK: Final = re.compile(r"_segmentation$", re.IGNORECASE)
"""An ending that no image has."""
_MAP: Final = re.compile(r"_(superpixels|attribute_[a-z_]+)$", re.IGNORECASE)
_MASK_BESIDE: Final = re.compile(r"[_-](lesion[_-]?)?(mask|segmentation|segm|seg|lesion)$", re.IGNORECASE)
"""Endings of a mask where an image of the rest of the name is there; alone it may be a photograph."""
_MAP_BESIDE: Final = re.compile(
    r"[_-](masks|gt|ground_?truth|annotation|annotated|contour|outline|superpixel|label|r\d+_label\d+)$",
    re.IGNORECASE,
)
_ENDINGS_BESIDE: Final[tuple[tuple[re.Pattern[str], Kind], ...]] = (
    (_MASK_BESIDE, "mask"),
    (_MAP_BESIDE, "map"),
)
_MASK_FOLDER: Final = re.compile(
    r"(.*[ _-])?(mask|masks|segmentation|segmentations|seg|ground_?truth)([ _-].*)?", re.IGNORECASE
)
"""Names of folders that hold masks."""
_MAP_FOLDER: Final = re.compile(r"(.*[ _-])?(superpixels?|annotations?|contours?)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """Image files by what they are.

    ``by_ending`` and ``by_folder`` are those masks and maps that only their neighbours show to be one: a table may name
    them as images nonetheless.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    maps: tuple[Path, ...]
    by_ending: tuple[Path, ...]
    by_folder: tuple[Path, ...]


def is_image_name(path: Path) -> bool:
    """Whether a file is named like an image, a mask or a map."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def require_unicode(paths: Iterable[Path]) -> None:
    """Raise DataError for a name that is no UTF-8 (from a zip of another system): no table or page can hold it."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise DataError(f"{str(path)!r}: the name is no UTF-8; rename the file (convmv does)") from None


def image_of_mask(path: Path) -> str:
    """Return the name, without suffix, of the image that a mask belongs to."""
    for ending in (_MASK, _MASK_BESIDE):
        bare = ending.sub("", path.stem)
        if bare != path.stem:
            return bare
    return path.stem


def nearest_mask(image: Path, masks: Sequence[Path]) -> Path | str:
    """Return the mask in the image's folder, else that with most folder names, from the last, in common with it."""

    def common(mask: Path) -> int:
        pairs = zip(reversed(image.parent.parts), reversed(mask.parent.parts), strict=False)
        return next((n for n, (one, other) in enumerate(pairs) if one != other), len(image.parts))

    return max(masks, key=common, default="")


def left_out_line(counts: Mapping[str, int]) -> str:
    """Return "2 hidden, 1 mask" of counts by what was left out; "" for nothing."""
    return ", ".join(
        f"{count} {SINGULAR.get(what, what) if count == 1 else what}"
        for what, count in counts.items()
        if count
    )


def sort_out(paths: Iterable[Path], root: Path | None = None) -> Sorted:
    """Sort image files; the order within a kind stays, masks named ``_segmentation`` come before others.

    A folder named like one of masks holds masks where an image of the name of one of them lies elsewhere.

    Args:
        paths: files named like images.
        root: folders below it say what their files are; None: the folder that a file lies in.
    """
    given = list(paths)
    sure = {path: kind for path in given if (kind := _sure(path)) is not None}
    folders = {
        path: found for path in given if path not in sure and (found := _folder(path, root)) is not None
    }
    plain = {path.stem for path in given if path not in sure and path not in folders}
    with_images = {folder for path, (_, folder) in folders.items() if path.stem in plain}
    by_folder = {path: kind for path, (kind, folder) in folders.items() if folder in with_images}
    rest = [path for path in given if path not in sure and path not in by_folder]
    stems = {path.stem for path in rest}
    by_ending = {path: kind for path in rest if (kind := _beside(path, stems)) is not None}
    kinds = sure | by_folder | by_ending
    masks = [path for path in given if kinds.get(path) == "mask"]
    return Sorted(
        images=tuple(path for path in given if path not in kinds),
        masks=tuple(sorted(masks, key=lambda path: not _MASK.search(path.stem))),
        maps=tuple(path for path in given if kinds.get(path) == "map"),
        by_ending=tuple(by_ending),
        by_folder=tuple(by_folder),
    )


def _sure(path: Path) -> Kind | None:
    """Return what a file is by its ending alone."""
    if _MASK.search(path.stem):
        return "mask"
    return "map" if _MAP.search(path.stem) else None


def _folder(path: Path, root: Path | None) -> tuple[Kind, Path] | None:
    """Return what the uppermost folder above a file that is named like one of masks or maps says it is, and that folder."""
    above = (
        [path.parent]
        if root is None
        else [p for p in reversed(path.parents) if p != root and root in p.parents]
    )
    for folder in above:
        if _MAP_FOLDER.fullmatch(folder.name):
            return "map", folder
        if _MASK_FOLDER.fullmatch(folder.name):
            return "mask", folder
    return None


def _beside(path: Path, stems: set[str]) -> Kind | None:
    """Return what a file is where an image of its name without the ending is there."""
    for ending, kind in _ENDINGS_BESIDE:
        bare = ending.sub("", path.stem)
        if bare != path.stem and bare in stems:
            return kind
    return None
