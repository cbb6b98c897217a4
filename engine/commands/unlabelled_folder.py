"""Images without a diagnosis beside a data set, for `hardcase init`: those of the folder it is given, or may have missed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from engine.commands.found import Layout
from engine.config import DataConfig
from engine.data.readers.files import find_files
from engine.data.readers.unlabelled import with_folder
from engine.errors import DataError


def with_unlabelled(layout: Layout, folder: Path) -> Layout:
    """Return the layout with the images of ``folder`` beside it, which have no diagnosis.

    Raises:
        DataError: the format reads none beside it; the folder is absent, or holds no image that is new.
    """
    place = str(folder.expanduser().absolute())
    data = layout.data | {"unlabelled": "keep", "unlabelled_images": place}
    try:
        DataConfig.model_validate(data)
    except ValueError:
        raise DataError(
            f"--unlabelled: images are read beside image files, which format: {data['format']} does not have; leave it out"
        ) from None
    images = len(with_folder(layout.source, place).table) - len(layout.source.table)
    said = (
        f"data.unlabelled_images: no classifier learns from the {images} images in {place}, `hardcase query` chooses which "
        "to ask about; keep photographs of the labelled lesions and patients out of it"
    )
    return replace(layout, data=data, checks=(*layout.checks, said))


def left_aside(layout: Layout, place: Path) -> list[str]:
    """Return what to say of folders in ``place`` that hold images, none of which a table names; [] where there are none."""
    if layout.data["format"] != "table" or not place.is_dir():
        return []
    used = {Path(path).parent.resolve() for path in layout.source.table.path.tolist() if path}
    aside = [path for path in find_files(place).images if path.parent.resolve() not in used]
    if not aside or not used:
        return []
    folder = os.path.commonpath([path.parent for path in aside])
    return [
        f"{len(aside)} images in {folder} are in no row of the table and are not used; if they have no diagnosis yet, "
        "`hardcase init` with --unlabelled and that folder keeps them to ask about, as do data.unlabelled: keep and "
        "data.unlabelled_images"
    ]
