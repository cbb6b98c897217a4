"""Tells images from lesion masks and other maps that lie beside them, by the names of files and folders.

Endings in use: ``ISIC_0000000_Segmentation.png`` (ISIC 2016), ``_segmentation.png`` (ISIC 2017, 2018, HAM10000),
``_superpixels.png`` (ISIC 2017), ``_attribute_globules.png`` (ISIC 2018, task 2), ``IMD002_lesion.bmp`` and
``IMD002_R1_Label4.bmp`` (PH2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
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
_MASK_FOLDER: Final = re.compile(
    r"(.*[ _-])?(mask|masks|segmentation|segmentations|seg|ground_?truth)([ _-].*)?", re.IGNORECASE
)
"""Folders whose files are masks where images of the same names lie elsewhere."""
_MAP_FOLDER: Final = re.compile(r"(.*[ _-])?(superpixels?|annotations?|contours?)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """Image files by what they are; ``doubtful`` are those masks and maps that only their neighbours show to be one."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    maps: tuple[Path, ...]
    doubtful: tuple[Path, ...]


def is_image_name(path: Path) -> bool:
    """Whether a file is named like an image, a mask or a map."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def image_of_mask(path: Path) -> str:
    """Return the name, without suffix, of the image that a mask belongs to."""
    for ending in (_MASK, _MASK_BESIDE):
        bare = ending.sub("", path.stem)
        if bare != path.stem:
            return bare
    return path.stem


def sort_out(paths: Iterable[Path], root: Path | None = None) -> Sorted:
    """Sort image files; the order within a kind stays, masks named ``_segmentation`` come before others.

    Args:
        paths: files named like images.
        root: folders below it say what their files are; None: the folder that a file lies in.
    """
    given = list(paths)
    plain = {path.stem for path in given if not _sure(path) and not _folder(path, root)}
    kinds = {path: _kind(path, plain, root) for path in given}
    masks = [path for path in given if kinds[path] == "mask"]
    return Sorted(
        images=tuple(path for path in given if kinds[path] == "image"),
        masks=tuple(sorted(masks, key=lambda path: not _MASK.search(path.stem))),
        maps=tuple(path for path in given if kinds[path] == "map"),
        doubtful=tuple(path for path in given if kinds[path] != "image" and not _sure(path)),
    )


def _sure(path: Path) -> Kind | None:
    """Return what a file is by its ending alone."""
    if _MASK.search(path.stem):
        return "mask"
    return "map" if _MAP.search(path.stem) else None


def _folder(path: Path, root: Path | None) -> Kind | None:
    """Return what the folders above a file say it is."""
    names = path.relative_to(root).parts[:-1] if root is not None else (path.parent.name,)
    if any(_MAP_FOLDER.fullmatch(name) for name in names):
        return "map"
    return "mask" if any(_MASK_FOLDER.fullmatch(name) for name in names) else None


def _kind(path: Path, plain: set[str], root: Path | None) -> Kind:
    sure = _sure(path)
    if sure is not None:
        return sure
    for ending, kind in ((_MASK_BESIDE, "mask"), (_MAP_BESIDE, "map")):
        bare = ending.sub("", path.stem)
        if bare != path.stem and bare in plain:
            return "mask" if kind == "mask" else "map"
    return (_folder(path, root) or "image") if path.stem in plain else "image"
