"""Says which images of a run a reader may label, and finds one by what a file calls it."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from engine.artifacts import labels, split
from engine.artifacts.run_layout import RunLayout
from engine.data.readers.image_names import IMAGE_SUFFIXES
from engine.errors import DataError
from engine.types import UNLABELLED

_UPLOADED: Final = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""


@dataclass(frozen=True, kw_only=True)
class RunImages:
    """The images of a run, by image_id.

    Attributes:
        open_to: those that readers may label: without a diagnosis, or with a reader's own.
        part: the part of each other one; its label stays where it is.
        group: what each image belongs to: a patient's lesions, near-duplicates.
        classes: the run's classes, sorted.
    """

    open_to: frozenset[str]
    part: Mapping[str, str]
    group: Mapping[str, str]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, run: Path) -> Self:
        """Read them from a run folder, which another process may be writing.

        Raises:
            DataError: no run folder, no split in it yet, or a damaged file.
        """
        layout = RunLayout(run)
        if not layout.config.is_file():
            raise DataError(
                f"{run}: no run folder (config.yaml is missing); give the folder `hardcase run` printed"
            )
        if not layout.split.is_file():
            raise DataError(
                f"{run}: has no split yet; rerun `hardcase run {shlex.quote(str(layout.config))}` to resume it"
            )
        table = split.read(run)
        answered = {answer.image_id for answer in labels.read(run)}
        part = dict(zip(table.image_id.tolist(), table.split.tolist(), strict=True))
        open_to = frozenset(name for name, of in part.items() if of == UNLABELLED or name in answered)
        return cls(
            open_to=open_to,
            part={name: of for name, of in part.items() if name not in open_to},
            group=dict(zip(table.image_id.tolist(), table.group_N.tolist(), strict=True)),
            classes=tuple(sorted(set(table.dx.tolist()) - {""})),
        )

    def find(self, name: str, where: str) -> str:
        """Return the image_id that ``name`` stands for: the id itself, or a path or file name that ends in it.

        Raises:
            DataError: it is no image of the run, or one that has a label; ``where`` says who names it.
        """
        known = (of for of in names_of(name) if of in self.open_to or of in self.part)
        found = next(known, None)  # U1.jpg is an id of its own where there is one
        if found in self.open_to:
            return found
        if found is not None:
            raise DataError(
                f"{where}: image {name!r} has a label already (it is in part {self.part[found]}), and nobody is asked "
                "about it; leave it out"
            )
        if not self.open_to:
            raise DataError(
                f"{where}: image {name!r} is none of the run's unlabelled images: it has none; set data.unlabelled=keep, "
                "or data.split.hide_labels to study asking"
            )
        close = difflib.get_close_matches(names_of(name)[-1], sorted(self.open_to), n=3)
        remedy = f"did you mean {' or '.join(close)}?" if close else "use the ids of the images asked about"
        raise DataError(f"{where}: image {name!r} is none of the run's unlabelled images; {remedy}")


def names_of(name: str) -> list[str]:
    """Return the ids that a name may stand for: itself, without folders, without suffix, without an upload's prefix."""
    found = [name, re.split(r"[/\\]", name)[-1]]
    stem, dot, suffix = found[-1].rpartition(".")
    if dot and f".{suffix}".lower() in IMAGE_SUFFIXES:
        found.append(stem)
    found += [bare for item in found[1:] if (bare := _UPLOADED.sub("", item, count=1)) != item]
    return [item for item in dict.fromkeys(found) if item] or [name]
