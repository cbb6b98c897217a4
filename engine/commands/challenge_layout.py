"""Recognises an ISIC challenge part for `hardcase init`: its ground truth, and the folder its images were unzipped to."""

from __future__ import annotations

import shlex
from pathlib import Path

from engine.commands.found import Found, siblings
from engine.data.readers.challenge_tables import ground_truths, read_truth
from engine.data.readers.files import find_files
from engine.data.readers.image_names import IMAGE_SUFFIXES
from engine.data.readers.places import bare
from engine.errors import DataError


def challenge(place: Path, images: Path | None) -> Found | None:
    """Return the challenge part in a folder or of a ground-truth file; None where no ground truth lies there.

    Raises:
        DataError: there are several, or no image of the only one is found.
    """
    truths = (
        ground_truths(place) if place.is_dir() else [place] if "groundtruth" in place.name.lower() else []
    )
    if not truths:
        return None
    if len(truths) > 1:
        names = ", ".join(str(path.relative_to(place)) for path in truths)
        raise DataError(
            f"{place}: {len(truths)} ground truths ({names}), and one part is read at a time; give one of these files"
        )
    truth = truths[0]
    folder = place if place.is_dir() else place.parent
    data = {"format": "isic"}
    where = _images_of(truth, folder) if images is None else images
    if where != folder:
        data["images"] = str(where)
    return Found(data=data, why=f"ISIC ground truth {truth.name}")


def _images_of(truth: Path, folder: Path) -> Path:
    """Return the folder that the images lie in or below: the truth's, or a sibling that was unzipped beside it.

    Raises:
        DataError: neither holds an image that the truth names.
    """
    frame, image = read_truth(truth)
    wanted = {bare(name).casefold() for name in frame[image]}
    if any(path.stem.casefold() in wanted for path in find_files(folder).images):
        return folder
    first = bare(str(frame[image].iloc[0]))
    for sibling in siblings(folder):
        if any((sibling / f"{first}{end}").exists() for s in IMAGE_SUFFIXES for end in (s, s.upper())):
            return sibling
    raise DataError(
        f"{truth}: no image that it names lies in {folder} or in a folder beside it; give the folder of the images: "
        f"hardcase init {shlex.quote(str(truth))} --images DIR"
    )
