"""Stage ``images``: reads the data set, decodes it once into memmaps, finds near-duplicates and second photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from engine.artifacts import decoded_images, lesions
from engine.artifacts import duplicates as duplicates_file
from engine.artifacts.decoded_images import DataFacts
from engine.artifacts.duplicates import HALF, KEYPOINTS, PIXELS, DuplicatePairs
from engine.config import Config, DataConfig
from engine.data.decoding import ImageFileError, size_of
from engine.data.duplicates.candidates import TURNS
from engine.data.duplicates.keypoints import find_keypoints
from engine.data.duplicates.same_lesion import LEAST_SIDE, LesionPairs, find_same_lesions
from engine.data.duplicates.search import Duplicates, Progress, find_duplicates
from engine.data.images import Decoded, available_cores, data_digest, fill_cache
from engine.data.readers.image_names import FRAMES
from engine.data.readers.table import read
from engine.data.table import Source, check_classes
from engine.errors import DataError
from engine.parts.context import StageContext
from engine.stages import base
from engine.types import StrArray, strings

SAMPLED = 64


class Params(base.Params):
    """How images are read and cut; the split and the malignant classes come later."""

    unread: ClassVar[Mapping[str, frozenset[str]]] = {"data": frozenset({"split", "malignant"})}
    optional: ClassVar[frozenset[str]] = frozenset(
        {
            "data.phantom.blind_spot",
            "data.images",
            "data.unlabelled",
            "data.unlabelled_images",
            "data.find_second_photographs",
        }
    )

    data: DataConfig
    fingerprint: str
    """Digest of the files the data is read from; it stands for ``data.root`` in the key."""
    seed: int
    """Seed of phantoms and of ``data.limit``; 0 where neither is used."""

    @classmethod
    def of(cls, config: Config, fingerprint: str) -> Params:
        """Return what a run of ``config`` reads."""
        drawn = config.data.format == "phantom" or config.data.limit is not None
        return cls(data=config.data, fingerprint=fingerprint, seed=config.seed if drawn else 0)


def run(context: StageContext, params: Params) -> None:
    """Fill ``images.npy``, ``masks.npy``, ``table.parquet``, ``duplicates.parquet``, ``data.json``.

    Raises:
        DataError: the data is missing, broken or inconsistent; names the file and the remedy.
    """
    config = params.data
    source = read(config, params.seed)
    decoded = fill_cache(source, config, context.out, context.progress)
    source = source.take(decoded.good_N)
    check_classes(source)
    lesions.write(source.table, context.out)
    images_NHWC = decoded_images.open_images(context.out)
    side = native_side(source)
    found = find_duplicates(images_NHWC, source.table.lesion_id, context.progress, side)
    seek = config.find_second_photographs and side >= LEAST_SIDE
    second = second_photographs(source, config, context.progress) if seek else None
    name = source.table.image_id
    pairs = pairs_of(found, name) if second is None else joined(found, second, name)
    duplicates_file.write(pairs, context.out)
    digest = data_digest(source.table, context.out)
    decoded_images.write(facts_of(source, decoded, config, digest), context.out)


def native_side(source: Source) -> int:
    """Return the median short side, in pixels, of at most SAMPLED pictures as they came."""
    sides = []
    for row in np.unique(np.linspace(0, len(source.table) - 1, SAMPLED).astype(np.int64)):
        if source.frames is not None:
            sides.append(min(source.frames[row].shape[:2]))
        else:
            sides.append(min(size_of(str(source.table.path[row]))))
    return int(np.median(sides))


def pairs_of(found: Duplicates, image_id: StrArray) -> DuplicatePairs:
    """Return the pairs by image id, and how the second image lies on the first (see ``Duplicates``)."""
    return DuplicatePairs(
        first_P=image_id[found.pairs_P2[:, 0]],
        second_P=image_id[found.pairs_P2[:, 1]],
        distance_P=found.distance_P,
        exact_P=found.exact_P,
        turn_P=strings([TURNS[turn] for turn in found.turn_P]),
        placement_P4=found.placement_P4,
    )


def second_photographs(source: Source, config: DataConfig, progress: Progress) -> LesionPairs:
    """Return pairs that show one lesion by their keypoints.

    Raises:
        DataError: an image file changed while it was read.
    """
    sources = source.table.path.tolist() if source.frames is None else source.frames
    threads = config.workers or available_cores()
    try:
        keypoints = find_keypoints(sources, threads, progress)
    except ImageFileError as error:
        raise DataError(
            f"{source.where}: an image cannot be decoded a second time ({error}); rerun"
        ) from None
    return find_same_lesions(keypoints, source.table.lesion_id, threads, progress)


def joined(found: Duplicates, second: LesionPairs, image_id: StrArray) -> DuplicatePairs:
    """Return the pairs found by pixels, and after them those found by keypoints alone; the former are all sure."""
    inliers = dict(zip(map(tuple, second.pairs_P2.tolist()), second.inliers_P.tolist(), strict=True))
    by_pixels = dict.fromkeys(map(tuple, found.pairs_P2.tolist()))
    alone = second.take(np.array([pair not in by_pixels for pair in inliers], dtype=np.bool_))
    count = len(alone)
    pairs = pairs_of(
        Duplicates(
            pairs_P2=np.concatenate([found.pairs_P2, alone.pairs_P2]),
            distance_P=np.concatenate([found.distance_P, np.round(HALF / (HALF + alone.inliers_P), 4)]),
            turn_P=np.concatenate([found.turn_P, np.zeros(count, np.int64)]),
            placement_P4=np.concatenate([found.placement_P4, alone.placement_P4]),
            exact_P=np.concatenate([found.exact_P, np.zeros(count, np.bool_)]),
        ),
        image_id,
    )
    return replace(
        pairs,
        by_P=strings([PIXELS] * len(by_pixels) + [KEYPOINTS] * count),
        inliers_P=np.array([inliers.get(pair, 0) for pair in by_pixels] + alone.inliers_P.tolist(), np.int64),
        sure_P=np.concatenate([np.ones(len(by_pixels), np.bool_), alone.sure_P]),
    )


def facts_of(source: Source, decoded: Decoded, config: DataConfig, digest: str) -> DataFacts:
    """Return what was read and decoded."""
    table = source.table
    return DataFacts(
        classes=table.classes,
        n_images=len(table),
        **({"unlabelled": int(np.sum(~table.labelled_N))} if not table.labelled_N.all() else {}),
        n_lesions=len(np.unique(table.lesion_id)),
        counts={dx: int(np.sum(table.dx == dx)) for dx in table.classes},
        grouped_by=source.grouped_by,
        masks=decoded.masks,
        masks_degenerate=decoded.masks_degenerate,
        skipped=tuple(
            {"image_id": name, "reason": reason} for name, reason in source.skipped + decoded.skipped
        ),
        left_out={**source.left_out, FRAMES: decoded.several_frames}
        if decoded.several_frames
        else dict(source.left_out),
        notes=source.notes,
        image_size=config.image_size,
        digest=digest,
        labels=source.labels,
    )


STAGE = base.Stage(
    name="images",
    version=5,
    params=Params,
    run=run,
    foundation=True,
    units=lambda _params, sizes: sizes.images,
    files=(
        decoded_images.IMAGES,
        decoded_images.MASKS,
        lesions.SCHEMA,
        duplicates_file.SCHEMA,
        DataFacts,
    ),
)
