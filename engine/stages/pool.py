"""Stage ``pool``: lays out what one arm trains on: the classifier's own images, and what the arm adds, class by class."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.errors import DataError, StageError
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.parent_turns import by_turns
from engine.stages.base import StageContext
from engine.training.plan import derive_seed
from engine.types import ImageArray, IntArray, StrArray, strings

COLUMNS = ("source", "row", "image_id", "dx", "origin")


def run(context: StageContext) -> None:
    """Fill ``pool.parquet`` (source, row, image_id, dx, origin), ``extra.npy`` and ``pool.json``.

    ``row`` is a row of images.npy (source "data") or of extra.npy (source "extra"); the classifier's own images come
    first. Params: ``arm``; ``counts`` {dx: images to add}, not used by real, all_real, hard and synthetic;
    ``train_sets``, optional: the training sets that are its own (absent: all of train).

    Raises:
        StageError: the arm is not known.
        DataError: an input folder is inconsistent.
    """
    arm = str(context.params["arm"])
    if arm not in ADDITIONS:
        raise StageError(f"arm: {arm!r} has no pool; the arms are {', '.join(ADDITIONS)}")
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    added, extra = ADDITIONS[arm](context, dataset)
    own = real_rows(dataset, np.zeros(0, dtype=np.int64) if arm == "synthetic" else _own(context, dataset))
    pool = pd.concat([own, added], ignore_index=True)
    pool.to_parquet(context.out / "pool.parquet", index=False)
    np.save(context.out / "extra.npy", extra)
    wanted = {str(k): int(n) for k, n in context.params.get("counts", {}).items()}
    contents = describe(pool, added, dataset.classes, arm, wanted)
    text = json.dumps(contents, sort_keys=True, allow_nan=False, indent=2)
    (context.out / "pool.json").write_text(text + "\n", encoding="utf-8")


def read_pool(folder: Path) -> pd.DataFrame:
    """Read ``pool.parquet`` of a finished pool folder."""
    return pd.read_parquet(folder / "pool.parquet")


def describe(
    pool: pd.DataFrame, added: pd.DataFrame, classes: Iterable[str], arm: str, wanted: Mapping[str, int]
) -> dict[str, Any]:
    """Return the object of pool.json.

    ``n_real`` counts different real images, ``n_rows`` repeats too; ``counts`` and ``added`` count rows by class,
    ``short`` the rows by class that were asked for but could not be had.
    """
    by_class = {dx: int((pool["dx"] == dx).sum()) for dx in classes}
    added_by_class = {dx: int((added["dx"] == dx).sum()) for dx in classes}
    short = {dx: n - added_by_class.get(dx, 0) for dx, n in sorted(wanted.items())}
    return {
        "arm": arm,
        "n_rows": len(pool),
        "n_real": int(pool.loc[pool["origin"] == "real", "image_id"].nunique()),
        "n_synthetic": int((pool["origin"] == "synthetic").sum()),
        "counts": by_class,
        "added": added_by_class,
        "short": {dx: n for dx, n in short.items() if n > 0},
    }


def _own(context: StageContext, dataset: Dataset) -> IntArray:
    return dataset.own(context.params.get("train_sets"))


def real_rows(dataset: Dataset, positions: IntArray) -> pd.DataFrame:
    """Return pool rows of the given positions of ``dataset.table``."""
    table = dataset.table.take(positions)
    values = ("data", dataset.rows[positions], table.image_id, table.dx, "real")
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def repeat_evenly(positions: IntArray, count: int, seed: int) -> IntArray:
    """Return ``count`` of ``positions``, each floor(count / n) times and a seeded draw of them once more."""
    whole, rest = divmod(count, len(positions))
    once_more = np.random.default_rng(seed).permutation(len(positions))[:rest]
    return np.concatenate([np.tile(positions, whole), positions[np.sort(once_more)]]).astype(np.int64)


Addition = tuple[pd.DataFrame, ImageArray]


def _nothing(_context: StageContext, dataset: Dataset) -> Addition:
    return real_rows(dataset, np.zeros(0, dtype=np.int64)), _no_images(dataset)


def _mine_split(_context: StageContext, dataset: Dataset) -> Addition:
    return real_rows(dataset, dataset.where("mine")), _no_images(dataset)


def _classical(context: StageContext, dataset: Dataset) -> Addition:
    return _repeated(context, dataset, _own(context, dataset)), _no_images(dataset)


def _mined(context: StageContext, dataset: Dataset) -> Addition:
    ids = [
        str(name)
        for folder in numbered(context.inputs, "mine")
        for name in pd.read_parquet(folder / "hard_cases.parquet")["image_id"]
    ]
    return _repeated(context, dataset, _positions(dataset, ids, "hard_cases.parquet")), _no_images(dataset)


def _retrieved(context: StageContext, dataset: Dataset) -> Addition:
    ids = [
        str(name)
        for folder in numbered(context.inputs, "condition")
        for row in pd.read_parquet(folder / "neighbours.parquet")["neighbour_ids"]
        for name in row
        if name
    ]
    return _repeated(context, dataset, _positions(dataset, ids, "neighbours.parquet")), _no_images(dataset)


def _repeated(context: StageContext, dataset: Dataset, positions: IntArray) -> pd.DataFrame:
    """Repeat the given images of each class to ``counts``; a class without any gets none."""
    chosen = [np.zeros(0, dtype=np.int64)]
    for dx, count in sorted(context.params["counts"].items()):
        members = positions[dataset.table.dx[positions] == dx]
        if len(members):
            chosen.append(repeat_evenly(members, int(count), derive_seed(context.seed, "pool", dx)))
    return real_rows(dataset, np.concatenate(chosen))


def _positions(dataset: Dataset, image_ids: Iterable[str], file: str) -> IntArray:
    """Return the sorted positions of different images, none from val (nor from test, but for mining there)."""
    names = np.array(sorted(set(image_ids)), dtype=np.str_)
    try:
        positions = dataset.positions(names)
    except KeyError as error:
        raise DataError(
            f"{file} names image_id {error} which is not in split.parquet; run that stage again"
        ) from error
    if np.any(dataset.table.split[positions] == "val"):
        raise DataError(f"{file} names images of val, which never train; run the mine stage again")
    return np.sort(positions)


def _synthetic(context: StageContext, dataset: Dataset) -> Addition:
    """Accepted images of every round so far, in order; of a compared generator no more than ``counts`` a class.

    What is over is left out as ``accept`` does it for ``hard``, parents taking turns.
    """
    frames, images = [_nothing(context, dataset)[0]], [_no_images(dataset)]
    room = dict(context.params["counts"]) if context.params["arm"] in ("random", "dcgan") else None
    for accept, synthesize in zip(
        numbered(context.inputs, "accept"), numbered(context.inputs, "synthesize"), strict=True
    ):
        table = pd.read_parquet(accept / "synthetic.parquet")
        made: ImageArray = np.load(synthesize / "images.npy")
        if len(table) != len(made):
            raise DataError(
                f"synthetic.parquet has {len(table)} rows but images.npy {len(made)} images; run accept again"
            )
        kept = np.flatnonzero(table["accepted"].to_numpy(dtype=bool))
        if room is not None:
            dx, parent = (strings(table[name].tolist()) for name in ("dx", "parent_image_id"))
            kept = _first(dx, by_turns(kept.tolist(), parent), room)
        start = sum(len(part) for part in images)
        values = ("extra", start + np.arange(len(kept)), table["sample_id"].iloc[kept].to_numpy(),
                  table["dx"].iloc[kept].to_numpy(), "synthetic")  # fmt: skip
        frames.append(pd.DataFrame(dict(zip(COLUMNS, values, strict=True))))
        images.append(made[kept])
    return pd.concat(frames, ignore_index=True), np.concatenate(images)


def _first(dx_S: StrArray, kept: Iterable[int], room: dict[str, int]) -> IntArray:
    """Return the first of ``kept`` as long as their class has room, in the order of S; lowers ``room``."""
    chosen = []
    for row in kept:
        dx = str(dx_S[row])
        if room.get(dx, 0) > 0:
            room[dx] -= 1
            chosen.append(row)
    return np.array(sorted(chosen), dtype=np.int64)


def numbered(inputs: Mapping[str, Path], role: str) -> list[Path]:
    """Return the inputs ``<role>_<round>`` by rising round."""
    rounds = sorted(int(name.rpartition("_")[2]) for name in inputs if name.rpartition("_")[0] == role)
    return [inputs[f"{role}_{number}"] for number in rounds]


def _no_images(dataset: Dataset) -> ImageArray:
    return np.zeros((0, *dataset.images_NHWC.shape[1:]), dtype=np.uint8)


ADDITIONS: dict[str, Callable[[StageContext, Dataset], Addition]] = {
    "real": _nothing,
    "all_real": _mine_split,
    "classical": _classical,
    "mined": _mined,
    "retrieved": _retrieved,
    "random": _synthetic,
    "dcgan": _synthetic,
    "hard": _synthetic,
    "synthetic": _synthetic,
}
