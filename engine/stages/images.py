"""Stage ``images``: reads the data set, decodes it once into memmaps, and finds near-duplicate images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from PIL import Image

from engine.config import Config, DataConfig
from engine.data.duplicates.candidates import TURNS
from engine.data.duplicates.search import Duplicates, find_duplicates
from engine.data.images import Decoded, data_digest, fill_cache
from engine.data.readers.table import read
from engine.data.table import Source, check_classes
from engine.parts.context import StageContext
from engine.parts.dataset import write_table
from engine.stages import base
from engine.types import StrArray

SAMPLED = 64


class Params(base.Params):
    """How images are read and cut; the split and the malignant classes come later."""

    unread: ClassVar[Mapping[str, frozenset[str]]] = {"data": frozenset({"split", "malignant"})}

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
    write_table(source.table, context.out / "table.parquet")
    images_NHWC = np.load(context.out / "images.npy", mmap_mode="r")
    duplicates = find_duplicates(images_NHWC, source.table.lesion_id, context.progress, native_side(source))
    duplicates_frame(duplicates, source.table.image_id).to_parquet(
        context.out / "duplicates.parquet", index=False
    )
    info = _info(source, decoded, config) | {"digest": data_digest(source.table, context.out)}
    text = json.dumps(info, indent=1, allow_nan=False)
    (context.out / "data.json").write_text(text + "\n", encoding="utf-8")


def native_side(source: Source) -> int:
    """Return the median short side, in pixels, of at most SAMPLED pictures as they came."""
    sides = []
    for row in np.unique(np.linspace(0, len(source.table) - 1, SAMPLED).astype(np.int64)):
        if source.frames is not None:
            sides.append(min(source.frames[row].shape[:2]))
        else:
            with Image.open(str(source.table.path[row])) as opened:
                sides.append(min(opened.size))
    return int(np.median(sides))


def duplicates_frame(duplicates: Duplicates, image_id: StrArray) -> pd.DataFrame:
    """Return ``duplicates.parquet``: ids and distance, and how the second image lies on the first (see ``Duplicates``)."""
    return pd.DataFrame(
        {
            "image_id_1": image_id[duplicates.pairs_P2[:, 0]],
            "image_id_2": image_id[duplicates.pairs_P2[:, 1]],
            "distance": duplicates.distance_P,
            "exact": duplicates.exact_P,
            "turn": [TURNS[turn] for turn in duplicates.turn_P],
            **dict(zip(("log_zoom", "angle", "shift_x", "shift_y"), duplicates.placement_P4.T, strict=True)),
        }
    )


def _info(source: Source, decoded: Decoded, config: DataConfig) -> dict[str, Any]:
    table = source.table
    return {
        "classes": list(table.classes),
        "n_images": len(table),
        "n_lesions": len(np.unique(table.lesion_id)),
        "counts": {dx: int(np.sum(table.dx == dx)) for dx in table.classes},
        "grouped_by": source.grouped_by,
        "masks": decoded.masks,
        "masks_degenerate": decoded.masks_degenerate,
        "skipped": [
            {"image_id": name, "reason": reason} for name, reason in source.skipped + decoded.skipped
        ],
        "image_size": config.image_size,
    }


STAGE = base.Stage(
    name="images",
    version=3,
    params=Params,
    run=run,
    foundation=True,
    units=lambda _params, sizes: sizes.images,
    files={
        "images.npy": "(N,H,W,3) uint8",
        "masks.npy": "(N,H,W) uint8, 0 or 255",
        "table.parquet": "LesionTable sorted by image_id; `split` holds an official part or nothing",
        "duplicates.parquet": "near-duplicate pairs, and how the second image lies on the first",
        "data.json": "classes, counts, grouping, masks, what was skipped, digest",
    },
)
