"""From what a reader found to the LesionTable a run uses: checked ids, mapped labels, whole-lesion limit.

Every reader returns a ``Source``; ``prepare`` is the one path from there, so all data sets obey the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.config import DataConfig, as_argument
from engine.data.joined_patients import joined_patients
from engine.data.names import check_name, check_once, check_text
from engine.data.readers.metadata import given
from engine.data.splits import group_rows
from engine.errors import DataError
from engine.training.plan import derive_seed
from engine.types import ImageArray, IntArray, LesionTable, strings

MIN_LESIONS = 4
"""Lesions a class, of as many patients, that ``data.limit`` keeps where they exist: each of the four parts can get one."""
UNLABELLED = "unknown"
"""How ``data.map_labels`` names the images whose diagnosis is empty or a word for unknown."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a reader found: N rows, and where their pixels are.

    ``table.path`` names each image's file ("" where it is absent), or ``frames`` holds the pixels of row i as
    (h, w) or (h, w, 3) uint8 and ``masks`` its lesion mask (h, w), 0 or 255. ``labels`` are all class names the
    layout knows (some may have no image), ``must_map`` those that the user has to name. Unknown lesion ids are "".
    ``where`` names the file in error messages. ``notes`` are lines on what was not understood and counts as unknown.
    ``left_out`` counts the files beside them that are neither image nor mask, by what they are.
    """

    table: LesionTable
    where: str
    labels: tuple[str, ...]
    must_map: tuple[str, ...] = ()
    frames: tuple[ImageArray, ...] | None = None
    masks: tuple[ImageArray, ...] | None = None
    grouped_by: str = "image"
    skipped: tuple[tuple[str, str], ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def take(self, rows: npt.NDArray[Any]) -> Source:
        """Return the given rows (integer or boolean index) with their pixels."""
        index = np.arange(len(self.table))[rows]
        return replace(
            self,
            table=self.table.take(index),
            frames=None if self.frames is None else tuple(self.frames[i] for i in index),
            masks=None if self.masks is None else tuple(self.masks[i] for i in index),
        )


def make_table(
    where: str, image_id: Sequence[str], dx: Sequence[str], **columns: Sequence[Any] | npt.NDArray[Any]
) -> LesionTable:
    """Build a table from the columns a data set has; absent ones are unknown ("" or NaN), origin is "real".

    An image without diagnosis gets ``UNLABELLED``, which ``map_labels`` asks about where ``Source.must_map`` names it.

    Raises:
        DataError: an image_id is empty, not a plain name (a path could leave the data folder) or listed twice.
    """
    count = len(image_id)
    for position, name in enumerate(image_id):
        check_name(where, position, name)
    for position, label in enumerate(dx):
        check_text(where, position, "class", label)
    check_once(where, image_id, dx)
    text = {
        name: strings(columns.get(name, [default] * count))
        for name, default in (
            ("lesion_id", ""), ("patient_id", ""), ("split", ""), ("origin", "real"), ("sex", ""),
            ("localization", ""), ("skin_type", ""), ("path", ""), ("mask_path", ""),
        )
    }  # fmt: skip
    age = np.asarray(columns.get("age", [np.nan] * count), dtype=np.float64)
    return LesionTable(
        image_id=strings(image_id), dx=strings([label or UNLABELLED for label in dx]), age=age, **text
    )


def prepare(source: Source, config: DataConfig, seed: int) -> Source:
    """Drop absent images, map labels or take them off, find what groups rows, limit, and sort by image_id.

    Raises:
        DataError: an image is absent (unless on_bad_image: skip), a label is unknown to ``data.map_labels`` or
            needs it, or fewer than two classes are left.
    """
    source = map_labels(source, config.map_labels, keep=config.unlabelled == "keep")
    source = _drop_absent(source, config.on_bad_image)
    check_classes(source)
    joined = joined_patients(source.table, lesion_column=config.columns.lesion is not None)
    source = replace(source, grouped_by=known_groups(source.table), notes=(*source.notes, *joined))
    lesion_id = np.where(source.table.lesion_id == "", source.table.image_id, source.table.lesion_id)
    source = replace(source, table=source.table.replace(lesion_id=strings(lesion_id.tolist())))
    source = source.take(np.argsort(source.table.image_id, kind="stable"))
    if config.limit is not None and config.limit < len(source.table):
        source = source.take(limit_rows(source.table, config.limit, seed))
    return source


def n_grouped(table: LesionTable) -> int:
    """Return how many images have a patient id, or a lesion id that is not the image's own name."""
    lesion_N = (table.lesion_id != "") & (table.lesion_id != table.image_id)
    return int(((table.patient_id != "") | lesion_N).sum())


def known_groups(table: LesionTable) -> str:
    """Name the strongest group every row has: "patient", "lesion" or only "image"."""
    if np.all(table.patient_id != ""):
        return "patient"
    return "lesion" if np.all(table.lesion_id != "") else "image"


def groups_of_some(table: LesionTable, grouped_by: str) -> str:
    """Return what groups some rows of a data set whose rows all together are grouped by ``grouped_by``.

    Rows without a group, as a folder of unlabelled images has, may not be among them. Takes a table that was prepared.
    """
    if grouped_by != "image" or not len(table) or n_grouped(table) < len(table):
        return grouped_by
    return "patient" if np.all(table.patient_id != "") else "lesion"


def groups_line(known: int, total: int) -> str:
    """Return what to say where some or all images have no lesion or patient id."""
    if not known:
        return "GROUPS UNKNOWN: the data names no lesions or patients; one lesion may lie in two parts"
    return (
        f"GROUPS PARTLY KNOWN: {known} of {total} images have a lesion or patient id, which keeps them together; each of "
        f"the other {total - known} is a group of its own, so one lesion may lie in two parts"
    )


def map_labels(source: Source, mapping: Mapping[str, str | None], *, keep: bool = False) -> Source:
    """Rename classes; null drops the images. Those without diagnosis are counted as skipped.

    Args:
        source: what was read.
        mapping: a name or null per label.
        keep: images whose label is null, or a word for unknown that is not in ``mapping``, stay, with diagnosis "".

    Raises:
        DataError: ``mapping`` names a label the data does not have, or leaves out one that has no name of its own.
    """
    unknown = sorted(set(mapping) - {*source.labels, UNLABELLED})
    if unknown:
        raise DataError(
            f"data.map_labels: {', '.join(unknown)} is not a label of {source.where}; "
            f"its labels are {', '.join(source.labels)}"
        )
    present = set(source.table.classes)
    mapping = {label: None for label in present if not given(label)} | dict(mapping) if keep else mapping
    unnamed = sorted(present & set(source.must_map) - set(mapping))
    if unnamed == [UNLABELLED]:
        missing = source.table.image_id[source.table.dx == UNLABELLED]
        raise DataError(
            f"{source.where}: image {missing[0]} has no diagnosis ({len(missing)} such images); fill it in, or say what "
            f"to do with them: {as_argument('data.map_labels', {UNLABELLED: 'NAME or null'})} (null drops the images), or "
            "data.unlabelled=keep to ask about them later"
        )
    if unnamed:
        example = as_argument("data.map_labels", dict.fromkeys(unnamed, "NAME or null"))
        raise DataError(
            f"{source.where}: the data has images labelled {', '.join(unnamed)}, which this project gives no class; "
            f"say what to do with them: {example} (null drops the images)"
        )
    mapped = [mapping.get(str(label), str(label)) for label in source.table.dx]
    if keep:
        return replace(source, table=source.table.replace(dx=strings(mapped)))
    stays_N = np.array([label is not None for label in mapped], dtype=np.bool_)
    no_dx = (
        ()
        if UNLABELLED not in source.must_map
        else source.table.image_id[~stays_N & (source.table.dx == UNLABELLED)]
    )
    skipped = source.skipped + tuple((str(name), "no diagnosis") for name in no_dx)
    return replace(source, table=source.table.replace(dx=strings(mapped)), skipped=skipped).take(stays_N)


def check_classes(source: Source) -> None:
    """Raise DataError where fewer than two classes are left."""
    classes = source.table.classes
    if len(classes) < 2:
        found = f"only class {classes[0]}" if classes else "no image"
        raise DataError(
            f"{source.where}: {found} is left, but a classifier needs two classes or more; "
            "check data.root, the label column and data.map_labels"
        )


def limit_rows(table: LesionTable, limit: int, seed: int) -> IntArray:
    """Pick whole lesions, class by class in proportion, until about ``limit`` images are reached.

    A class keeps at least MIN_LESIONS lesions where it has them, and lesions of at least MIN_LESIONS patients. The choice
    depends on ids and seed alone.
    """
    share = limit / len(table)
    order_N = np.argsort(
        ~table.labelled_N, kind="stable"
    )  # a lesion is of the class that one of its images has
    lesions, first = np.unique(table.lesion_id[order_N], return_index=True)
    lesion_dx = table.dx[order_N][first]
    keep: set[str] = set()
    for dx in (*table.classes, *([""] if "" in lesion_dx else [])):
        names = lesions[lesion_dx == dx]
        order = np.random.default_rng(derive_seed(seed, "limit", dx)).permutation(len(names))
        sizes = np.array([int(np.sum(table.lesion_id == names[i])) for i in order])
        before = np.cumsum(sizes) - sizes
        chosen = max(int(np.sum(before < round(share * sizes.sum()))), min(MIN_LESIONS, len(names)))
        keep |= {str(names[i]) for i in order[:chosen]}
    keep |= _of_further_groups(table, keep, seed)
    return np.flatnonzero([str(name) in keep for name in table.lesion_id]).astype(np.int64)


def _of_further_groups(table: LesionTable, keep: set[str], seed: int) -> set[str]:
    """Return lesions to add to ``keep``, so that each class is shown by MIN_LESIONS groups that a split can part."""
    group_N = group_rows(table)
    group_of = dict(zip(table.lesion_id.tolist(), group_N.tolist(), strict=True))
    added: set[str] = set()
    for dx in table.classes:
        shown = np.flatnonzero(table.dx == dx)
        kept_N = np.isin(table.lesion_id[shown], sorted(keep | added))
        there = set(group_N[shown[kept_N]].tolist())
        rest = np.unique(table.lesion_id[shown[~kept_N]])
        for name in (
            np.random.default_rng(derive_seed(seed, "limit", dx, "groups")).permutation(rest).tolist()
        ):
            if len(there) >= MIN_LESIONS:
                break
            if group_of[name] not in there:
                there.add(group_of[name])
                added.add(name)
    return added


def _drop_absent(source: Source, on_bad_image: str) -> Source:
    if source.frames is not None:
        return source
    absent = source.table.image_id[source.table.path == ""]
    if not len(absent):
        return source
    if on_bad_image == "fail":
        raise DataError(
            f"{source.where}: image {absent[0]} is listed but its file is absent ({len(absent)} such images); "
            "add the file, remove the row, or set data.on_bad_image=skip"
        )
    skipped = tuple((str(name), "listed but absent") for name in absent)
    return replace(source.take(source.table.path != ""), skipped=source.skipped + skipped)
