"""Stage ``split``: assigns each decoded image to train, mine, val or test, and to a training set, whole groups at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.artifacts import decoded_images, lesions, oracle, stage_manifest
from engine.artifacts import duplicates as duplicates_file
from engine.artifacts import split as split_file
from engine.artifacts.split import SplitFacts, SplitTable
from engine.config import Config, SplitConfig
from engine.data.assignment import Labels, assign
from engine.data.hidden import hidden_rows
from engine.data.splits import Split, group_names
from engine.errors import DataError
from engine.parts.context import StageContext
from engine.stages import base
from engine.types import SPLITS, UNLABELLED, BoolArray, IntArray, LesionTable, StrArray, strings


class Params(base.Params):
    """How groups are dealt to the parts, and which training sets stay."""

    optional: ClassVar[frozenset[str]] = frozenset({"only", "labels"})

    split: SplitConfig
    only: list[int] | None = None
    """Training sets that stay; the other train images are not used. None: all stay."""
    labels: dict[str, str] | None = None
    """The class that readers gave to images without a diagnosis; those are train images then. None: nobody was asked."""

    @classmethod
    def of(cls, config: Config, labels: Mapping[str, str] | None = None) -> Params:
        """Return the split of a run. Which sets are used decides only where the generator parts may see no other."""
        sets = config.data.split.train_sets
        own = sets is not None and config.loop.generator_saw != "train"
        return cls(
            split=config.data.split,
            only=sets.use if sets is not None and own else None,
            labels=dict(sorted(labels.items())) if labels else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the section without unset keys, and without the sets that a run uses."""
        tree = super().to_json()
        section = {k: v for k, v in tree["split"].items() if v is not None}
        if "train_sets" in section:
            section["train_sets"] = {k: v for k, v in section["train_sets"].items() if k != "use"}
        return {**tree, "split": section}


def run(context: StageContext, params: Params) -> None:
    """Fill ``split.parquet`` (used images only), ``split.json`` and, where labels are hidden, ``oracle.parquet``.

    ``group`` is what never stands in two parts and is resampled as one: the lesions of a patient, near-duplicates.
    With ``split.train_sets`` split.parquet has a column ``train_set`` too (-1: in none). Labels that ``split.hide_labels``
    hides stand in oracle.parquet alone. Readers' answers change no part but train. Seeded by ``context.seed``.

    Raises:
        DataError: a class has fewer groups than parts or sets; names the overrides that help.
    """
    config = params.split
    images = context.inputs["images"]
    table = lesions.read(images)
    pairs = duplicates_file.read(images).ids
    split, set_N = assign(table, config, context.seed, pairs, _labels(images))
    hidden_N = _hidden(table, split, set_N, params, context.seed)
    part_N = np.where(hidden_N, UNLABELLED, split.part_N)
    asked = _answered(table, part_N, params.labels or {})
    dx_N = strings([asked.get(row, dx) for row, dx in enumerate(np.where(hidden_N, "", table.dx).tolist())])
    part_N[list(asked)] = "train"
    if set_N is not None and params.only:
        set_N[list(asked)] = params.only[0]
    part_N = _in_use(strings(part_N.tolist()), split.group_N, set_N, config.seal, params.only)
    used = np.flatnonzero(part_N != "")
    found = SplitTable(
        image_id=table.image_id[used],
        lesion_id=table.lesion_id[used],
        dx=dx_N[used],
        split=part_N[used],
        group_N=group_names(table.lesion_id, split.group_N)[used],
        row_N=used.astype(np.int64),
        train_set_N=None if set_N is None else set_N[used],
    )
    sizes = None if set_N is None else tuple(int(n) for n in np.bincount(set_N[set_N >= 0]))
    facts = SplitFacts(
        counts=split_counts(table.replace(dx=dx_N), part_N),
        grouped_by=decoded_images.read(images).grouped_by,
        merged_groups=split.merged_groups,
        unused=len(table) - len(used),
        left_out=split.left_out,
        digest=split_digest(found.image_id, found.split),
        **_set_only(
            train_sets=sizes,
            unlabelled=int(np.sum(part_N == UNLABELLED)),
            hidden=int(np.sum(hidden_N & (part_N == UNLABELLED))),
            answered=int(np.sum(part_N[list(asked)] == "train")) if asked else 0,
        ),
    )
    split_file.write(found, context.out)
    if hidden_N.any():
        names, classes = table.image_id[hidden_N].tolist(), table.dx[hidden_N].tolist()
        oracle.write(dict(zip(names, classes, strict=True)), context.out)
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


def _hidden(table: LesionTable, split: Split, set_N: IntArray | None, params: Params, seed: int) -> BoolArray:
    """Return which images lose their label."""
    share = params.split.hide_labels
    if share is None:
        return np.zeros(len(table), dtype=np.bool_)
    kept = params.only or ()
    return hidden_rows(table, split.part_N, split.group_N, share, seed, set_N=set_N, kept_sets=kept)


def _answered(table: LesionTable, part_N: StrArray, labels: Mapping[str, str]) -> dict[int, str]:
    """Return {row: class} of the images without a label that a reader gave one (DataError: a class that is none)."""
    if strange := sorted(set(labels.values()) - set(table.classes)):
        raise DataError(
            f"labels.parquet: {strange[0]} is no class of the data ({', '.join(table.classes)}); withdraw the answer"
        )
    open_to = np.flatnonzero(part_N == UNLABELLED).tolist()
    return {row: labels[name] for row in open_to if (name := str(table.image_id[row])) in labels}


def _set_only(**facts: Any) -> dict[str, Any]:
    """Return the facts that are neither 0 nor None: the file of a run without such images stays as it was."""
    return {name: value for name, value in facts.items() if value}


def _in_use(
    part_N: StrArray, group_N: StrArray, set_N: IntArray | None, seal: str | None, only: list[int] | None
) -> StrArray:
    """Return the parts with "" for a sealed part, and for what lies outside the sets in ``only`` (None: all stay).

    That are train images of no set or another one, and images without a label that belong to a group of theirs.
    """
    out_N = part_N == seal
    if set_N is not None and only is not None:
        others_N = (part_N == "train") & ~np.isin(set_N, only)
        out_N |= others_N | ((part_N == UNLABELLED) & np.isin(group_N, group_N[others_N]))
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
    files=(split_file.SCHEMA, SplitFacts, oracle.SCHEMA),
)
