"""Opens one image file safely, returns it upright in 8 bits, colour for images, grey for masks, and cuts it to a square.

It needs numpy and Pillow alone: `hardcase export model` puts it beside the model, so that anyone decodes as it was trained.

What is defined here holds for every image and mask that hardcase reads:

- only plain files are opened (no pipe, socket, device, folder), and of them only up to PIXEL_LIMIT pixels;
- EXIF's orientation is applied, as viewers do; a mask without one that has the proportions of the turned image's
  stored pixels is turned with it;
- of several frames the first is read; CMYK and palettes become RGB; what is transparent becomes white (in a mask: black);
- 16-bit grey is divided by 257, but read as it is where no value exceeds 255; floats from 0 to 1 become 0 to 255,
  others are read as they are up to 255; anything outside is refused.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

PIXEL_LIMIT: Final = 178_956_970
"""Most pixels of an image: as RGB it takes half a gigabyte, per thread. Above it Pillow refuses too."""
DRAFT_FACTOR: Final = 2
"""A JPEG may be decoded at a reduced scale that still has this many times the pixels asked for."""
SAME: Final = 0.02
"""Proportions that differ by less than this share are the same."""
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by EXIF's orientation; ``ImageOps.exif_transpose`` does the same, but fails on bad EXIF."""
SIDEWAYS: Final = 5
"""Orientations from here on exchange width and height."""

Pixels = npt.NDArray[np.uint8]


class ImageFileError(OSError):
    """An image file that cannot be read; the text says why, without the file's name."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An upright image in the mode it was stored in, EXIF's orientation it had (1: none), and whether frames follow."""

    image: Image.Image
    orientation: int = 1
    several: bool = False


def decode_image(source: str | Path | Pixels, size: int, fit: str = "crop") -> Pixels:
    """Return an image file, or an (h, w) or (h, w, 3) array, as (size, size, 3) uint8 RGB.

    Raises:
        ImageFileError: the file is absent, truncated, too large or no image.
    """
    return image_square(open_image(source, size), size, fit)


def open_image(source: str | Path | Pixels, size: int) -> Picture:
    """Return an image, upright, of as many pixels as a square of ``size`` is scaled from (ImageFileError)."""
    return open_picture(source, DRAFT_FACTOR * size)


def image_square(picture: Picture, size: int, fit: str) -> Pixels:
    """Return an image as (size, size, 3) uint8 RGB (ImageFileError)."""
    return np.asarray(to_square(rgb(picture.image), size, fit, Image.Resampling.BICUBIC), dtype=np.uint8)


def open_picture(source: str | Path | Pixels, side: int | None = None) -> Picture:
    """Decode a file, or wrap an (h, w) or (h, w, 3) array.

    Args:
        source: file or array.
        side: a JPEG may come at a reduced scale whose sides still have as many pixels; None: in full.

    Raises:
        ImageFileError: it is absent, no plain file, above PIXEL_LIMIT, truncated, or no image.
    """
    if isinstance(source, np.ndarray):
        return Picture(image=Image.fromarray(np.ascontiguousarray(source)))
    with _opened(source) as image:
        before = _orientation(image)
        if side is not None and image.format == "JPEG":
            image.draft("RGB", (side, side))
        image.load()
        after = _orientation(image)  # of a TIFF 1: Pillow has turned it
        upright = image.transpose(TURNS[after]) if after in TURNS else image
        several = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        return Picture(image=upright, orientation=max(before, after), several=several)


def size_of(path: str | Path) -> tuple[int, int]:
    """Return width and height of an image file as it is shown, without decoding it.

    Raises:
        ImageFileError: as ``open_picture``, but for what only decoding finds.
    """
    with _opened(path) as image:
        width, height = image.size
        turned = _orientation(image) >= SIDEWAYS and image.format != "TIFF"  # Pillow turns those itself
        return (height, width) if turned else (width, height)


def stored_sideways(path: str | Path) -> bool:
    """Whether EXIF exchanges width and height of an image file (ImageFileError as ``size_of``)."""
    with _opened(path) as image:
        return _orientation(image) >= SIDEWAYS


def rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode as 8-bit RGB, transparent parts on white.

    Raises:
        ImageFileError: values that have no place in 0 to 255, or colours that Pillow cannot convert.
    """
    with _named_errors():
        if image.mode[0] in "IF":
            return Image.fromarray(_eight_bits(image)).convert("RGB")
        return (_on(image, "white") or image).convert("RGB")


def grey(image: Image.Image, like: Picture | None = None) -> Image.Image:
    """Return a mask of any mode as 8-bit grey: the brightest channel, transparent parts black.

    Args:
        image: the mask.
        like: the image of a mask without an orientation of its own. Where it was stored sideways and the mask has the
            proportions of what was stored, the mask was drawn on the stored pixels, and is turned with it.

    Raises:
        ImageFileError: as ``rgb``.
    """
    with _named_errors():
        if like is not None and like.orientation >= SIDEWAYS and _sideways(image, like.image):
            image = image.transpose(TURNS[like.orientation])
        if image.mode[0] in "IF":
            return Image.fromarray(_eight_bits(image))
        if image.mode in ("1", "L") and not image.has_transparency_data:
            return image.convert("L")
        red, green, blue = (_on(image, "black") or image).convert("RGB").split()
        return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def to_square(image: Image.Image, size: int, fit: str, resample: Image.Resampling) -> Image.Image:
    """Cut and scale to size x size: the centred square of the short side (``crop``), or the whole (``stretch``).

    Cut and antialiased scaling are one step, so sources of any shape show a lesion at the same scale.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (0.0, 0.0, width, height) if fit == "stretch" else (left, top, left + side, top + side)
    return image.resize((size, size), resample, box=box)


def _sideways(mask: Image.Image, image: Image.Image) -> bool:
    """Whether a mask has the proportions of the image lying on its side, and not those of the upright one."""
    upright = (mask.width * image.height) / (mask.height * image.width)
    on_its_side = (mask.width * image.width) / (mask.height * image.height)
    return abs(on_its_side - 1) < SAME < abs(upright - 1)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Yield the header of a plain image file below the limit; whatever Pillow raises meanwhile is named."""
    with _named_errors():
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise ImageFileError("it is no plain file (a folder, pipe, socket or device)")
        try:
            opened = Image.open(path)
        except Image.DecompressionBombError:
            raise ImageFileError(_too_large(*_declared_size(Path(path)))) from None
        with opened as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise ImageFileError(_too_large(*image.size))
            yield image


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn any error into an ImageFileError: Pillow's plugins raise whatever a broken file provokes in them."""
    try:
        yield
    except ImageFileError:
        raise
    except UnidentifiedImageError:
        raise ImageFileError(
            "it is no image that can be read: 8 bits per channel, or one channel of 16 bits or floats"
        ) from None
    except MemoryError:
        raise ImageFileError("it does not fit into memory") from None
    except OSError as error:
        raise ImageFileError(error.strerror or str(error)) from error
    except Exception as error:
        raise ImageFileError(" ".join(str(error).split()) or type(error).__name__) from error


def _too_large(width: int, height: int) -> str:
    return f"it has {width} x {height} pixels, more than the limit of {PIXEL_LIMIT:,}; scale it down"


def _declared_size(path: Path) -> tuple[int, int]:
    """Return the size in the header of a file that ``Image.open`` refuses to open because of it."""
    Image.init()
    with path.open("rb") as handle:
        start = handle.read(16)
    for factory, accept in Image.OPEN.values():
        if accept is not None and accept(start) is True:
            with path.open("rb") as handle, factory(handle, str(path)) as image:
                return image.size
    raise ImageFileError(f"it has more than {PIXEL_LIMIT:,} pixels, the limit; scale it down")


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 where it is absent or nonsense; reads the pixels of no file."""
    if image.format == "PNG" and "exif" not in image.info and not getattr(image, "_im", None):
        return 1
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF beside good pixels
        return 1
    return found if found in TURNS else 1


def _eight_bits(image: Image.Image) -> Pixels:
    """Return integers or floats of one channel as (h, w) uint8."""
    values_HW = np.asarray(image)
    low, high = (float(v) for v in (values_HW.min(initial=0), values_HW.max(initial=0)))
    most = 255.0 if image.mode == "F" else 65535.0
    if not (low >= 0.0 and high <= most):  # NaN is neither
        raise ImageFileError(
            f"its values go from {low:g} to {high:g}; floats must lie in 0 to 1 or 0 to 255, integers in 0 to 65535: "
            "save it with 8 bits per channel"
        )
    if image.mode == "F":
        return np.asarray(values_HW * 255.0 + 0.5 if high <= 1.0 else values_HW).astype(np.uint8)
    return np.asarray(values_HW // (257 if high > 255 else 1)).astype(np.uint8)


def _on(image: Image.Image, background: str) -> Image.Image | None:
    """Return an image with transparent parts laid on a background; None where it has none."""
    if not image.has_transparency_data:
        return None
    straight = image.convert("LA") if image.mode == "La" else image
    layer = straight.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return None
    below = Image.new("RGBA", image.size, background)
    below.alpha_composite(layer)
    return below
