"""Stage ``split``: assigns each decoded image to train, mine, val or test, and to a training set, whole groups at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.artifacts import decoded_images, lesions, stage_manifest
from engine.artifacts import duplicates as duplicates_file
from engine.artifacts import split as split_file
from engine.artifacts.split import SplitFacts, SplitTable
from engine.config import Config, SplitConfig
from engine.data.assignment import Labels, assign
from engine.data.splits import group_names
from engine.parts.context import StageContext
from engine.stages import base
from engine.types import SPLITS, IntArray, LesionTable, StrArray, strings


class Params(base.Params):
    """How groups are dealt to the parts, and which training sets stay."""

    optional: ClassVar[frozenset[str]] = frozenset({"only"})

    split: SplitConfig
    only: list[int] | None = None
    """Training sets that stay; the other train images are not used. None: all stay."""

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return the split of a run. Which sets are used decides only where the generator parts may see no other."""
        sets = config.data.split.train_sets
        own = sets is not None and config.loop.generator_saw == "own"
        return cls(split=config.data.split, only=sets.use if sets is not None and own else None)

    def to_json(self) -> dict[str, Any]:
        """Return the section without unset keys, and without the sets that a run uses."""
        tree = super().to_json()
        section = {k: v for k, v in tree["split"].items() if v is not None}
        if "train_sets" in section:
            section["train_sets"] = {k: v for k, v in section["train_sets"].items() if k != "use"}
        return {**tree, "split": section}


def run(context: StageContext, params: Params) -> None:
    """Fill ``split.parquet`` (image_id, lesion_id, dx, split, group, row; used images only) and ``split.json``.

    ``group`` is what never stands in two parts and is resampled as one: the lesions of a patient, near-duplicates.
    With ``split.train_sets`` split.parquet has a column ``train_set`` too (-1: in none). Seeded by ``context.seed``.

    Raises:
        DataError: a class has fewer groups than parts or sets; names the overrides that help.
    """
    config = params.split
    images = context.inputs["images"]
    table = lesions.read(images)
    pairs = duplicates_file.read(images).ids
    split, set_N = assign(table, config, context.seed, pairs, _labels(images))
    part_N = _in_use(split.part_N, set_N, config.seal, params.only)
    used = np.flatnonzero(part_N != "")
    found = SplitTable(
        image_id=table.image_id[used],
        lesion_id=table.lesion_id[used],
        dx=table.dx[used],
        split=part_N[used],
        group_N=group_names(table.lesion_id, split.group_N)[used],
        row_N=used.astype(np.int64),
        train_set_N=None if set_N is None else set_N[used],
    )
    sizes = None if set_N is None else tuple(int(n) for n in np.bincount(set_N[set_N >= 0]))
    facts = SplitFacts(
        counts=split_counts(table, part_N),
        grouped_by=decoded_images.read(images).grouped_by,
        merged_groups=split.merged_groups,
        unused=len(table) - len(used),
        left_out=split.left_out,
        digest=split_digest(found.image_id, found.split),
        **({} if sizes is None else {"train_sets": sizes}),
    )
    split_file.write(found, context.out)
    facts.write(context.out)


def _labels(images: Path) -> Labels:
    """Return where the classes of a finished ``images`` stage come from."""
    manifest = stage_manifest.find(images)
    read = {} if manifest is None else manifest.params.get("data", {})
    return Labels(
        mapping=read.get("map_labels") or {},
        names=decoded_images.read(images).labels,
        limit=read.get("limit"),
    )


def _in_use(part_N: StrArray, set_N: IntArray | None, seal: str | None, only: list[int] | None) -> StrArray:
    """Return the parts with "" for a sealed part, and for train images outside the sets in ``only`` (None: all stay)."""
    out_N = part_N == seal
    if set_N is not None and only is not None:
        out_N |= (part_N == "train") & ~np.isin(set_N, only)
    return strings(np.where(out_N, "", part_N).tolist())


def split_counts(table: LesionTable, part_N: StrArray) -> dict[str, dict[str, int]]:
    """Return images per part and class."""
    return {
        part: {dx: int(np.sum((part_N == part) & (table.dx == dx))) for dx in table.classes}
        for part in SPLITS
    }


def split_digest(image_id: StrArray, part: StrArray) -> str:
    """Return the sha256 of the sorted lines ``image_id<TAB>split``: equal exactly for equal splits."""
    lines = sorted(f"{name}\t{value}" for name, value in zip(image_id, part, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


STAGE = base.Stage(
    name="split",
    version=3,
    params=Params,
    run=run,
    inputs=("images",),
    foundation=True,
    files=(split_file.SCHEMA, SplitFacts),
)
