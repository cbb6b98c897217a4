"""What the page may know of a run's real images: file, pixels, age, sex, site, and the class of labelled ones.

The class comes from the run's split, which has none for an image without a label or with a hidden one. The column of
classes in the images' own table is never read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

import numpy as np

from engine.artifacts import decoded_images, lesions
from engine.artifacts import split as split_file
from engine.artifacts.run_layout import foundation_role
from engine.review.class_names import ClassName, class_names
from engine.review.pictures import Photo, Pictures, picture_key
from engine.review.work import Beside
from engine.store import RunFolder
from engine.types import ImageArray

COLUMNS: Final = ("image_id", "path", "age", "sex", "localization")


class Photographs:
    """The real images of a run, by image id; their files are opened when the first one is asked for."""

    def __init__(self, run: RunFolder, pictures: Pictures) -> None:
        self.run = run
        self.pictures = pictures
        self.folder = run.stage(foundation_role("images")).path
        self.names: dict[str, ClassName] = class_names(
            decoded_images.read(self.folder).classes, run.config.data.malignant
        )

    @cached_property
    def _table(self) -> dict[str, tuple[int, tuple[Any, ...]]]:
        """{image_id: (row of images.npy, its COLUMNS)}."""
        frame = lesions.SCHEMA.read(self.folder, COLUMNS)
        rows = zip(*(frame[name].tolist() for name in COLUMNS), strict=True)
        return {str(row[0]): (number, row) for number, row in enumerate(rows)}

    @cached_property
    def _pixels(self) -> ImageArray:
        return decoded_images.open_images(self.folder)

    @cached_property
    def _dx(self) -> dict[str, str]:
        """{image_id: class} of images with a label."""
        table = split_file.read(self.run.path)
        return {name: dx for name, dx in zip(table.image_id.tolist(), table.dx.tolist(), strict=True) if dx}

    def refresh(self) -> None:
        """Read the classes again when they are next needed: a round may have published another split."""
        self.__dict__.pop("_dx", None)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._table

    def photo(self, image_id: str) -> Photo:
        """Return where an image's pixels are: its file, or the decoded image."""
        row, (_, path, *_) = self._table[image_id]
        return Photo(path=str(path), decoded=lambda: np.asarray(self._pixels[row]))

    def key(self, image_id: str) -> str:
        """Make an image's picture known and return its key."""
        return self.pictures.add(picture_key("photograph", image_id), self.photo(image_id))

    def facts(self, image_id: str) -> tuple[str, ...]:
        """Return what is known of the patient and the place: age, sex, site."""
        _, (_, _, age, sex, site) = self._table[image_id]
        years = "" if age is None or math.isnan(age) else f"{age:.0f} years"
        return tuple(text for text in (years, str(sex or ""), str(site or "")) if text)

    def beside(self, image_ids: Iterable[str], before: str = "") -> tuple[Beside, ...]:
        """Return small pictures of labelled images with their class; others are left out."""
        known = [name for name in image_ids if name in self._table and self._dx.get(name) in self.names]
        return tuple(
            Beside(
                picture=self.key(name),
                caption=f"{before}{self.names[self._dx[name]].name}",
                nature=self.names[self._dx[name]].nature,
            )
            for name in known
        )
