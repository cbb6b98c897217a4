"""Pictures for the page, by a key that tells nothing: the photograph where there is one, else the decoded image.

Only pixels leave: a photograph is decoded as all images are (EXIF's turn applied) and encoded anew without metadata. A
key is looked up; no path that a client sends is ever opened.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from PIL import Image

from engine.data.decoding import ImageFileError, open_picture, rgb
from engine.errors import DataError
from engine.types import ImageArray

LARGEST: Final = 4096
"""Longest side of a photograph on the page, pixels; larger ones are scaled down."""
SMALL: Final = 256
"""Longest side of a neighbour."""
KEPT: Final = 64
"""Encoded pictures that are kept in memory."""
DECODING: Final = threading.Semaphore(2)
"""Photographs decoded at a time: one may take half a gigabyte."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """Where the pixels of one picture are: a file, "" where there is none, and the decoded image (H, W, 3) uint8."""

    path: str = ""
    decoded: Callable[[], ImageArray] | None = None


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A picture as it is sent."""

    content: bytes
    media_type: str


def picture_key(kind: str, name: str) -> str:
    """Return the key of a picture or question: the same at every start, and without its name, which may hold a class."""
    return hashlib.blake2b(f"{kind}\0{name}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@dataclass
class Pictures:
    """Encodes pictures on demand and keeps the latest."""

    photos: dict[str, Photo] = field(default_factory=dict)
    kept: OrderedDict[tuple[str, int], Encoded] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, key: str, photo: Photo) -> str:
        """Make a picture known under its key; return the key."""
        self.photos.setdefault(key, photo)
        return key

    def get(self, key: str, side: int = LARGEST) -> Encoded | None:
        """Return a picture no larger than ``side``, None where the key is unknown (DataError: nothing can be decoded)."""
        photo = self.photos.get(key)
        if photo is None:
            return None
        with self.lock:
            found = self.kept.get((key, side))
        if found is None:
            with DECODING:
                found = encode(photo, side)
            with self.lock:
                self.kept[key, side] = found
                while len(self.kept) > KEPT:
                    self.kept.popitem(last=False)
        return found


def encode(photo: Photo, side: int) -> Encoded:
    """Return the photograph as a JPEG, or the decoded image as a PNG where no file can be read (DataError: neither)."""
    problem = "it has no file"
    if photo.path:
        try:
            image = rgb(open_picture(photo.path, side).image)
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            return _saved(image, "JPEG", quality=93, subsampling=0)
        except ImageFileError as error:
            problem = str(error)
    if photo.decoded is None:
        raise DataError(f"{photo.path}: {problem}; rerun `hardcase run` to make the picture again")
    image = Image.fromarray(np.ascontiguousarray(photo.decoded()))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _saved(image, "PNG")


def _saved(image: Image.Image, form: str, **options: int) -> Encoded:
    """Encode pixels alone: what Pillow keeps in ``info`` (comment, profile, EXIF) stays behind."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, format=form, **options)
    return Encoded(content=buffer.getvalue(), media_type=f"image/{form.lower()}")
