"""Finds planted duplicates in HAM10000: thresholds are chosen on one random half of the lesions, measured on the other.

usage: HARDCASE_DATA=... python -m experiments.audit [--copies 100] [--seed 0] [--name audit]

Copies of images are saved as files and planted under new lesion ids: mirrored, rotated by 90 to 270 degrees, cropped by 5 %,
re-compressed, all of these, and four copies of one image. Pairs of different lesions that nobody planted are judged by eye
(by_eye.csv in the results folder): those that show one lesion are no false alarms; those nobody looked at are.
`hardcase data audit` itself is run and timed on the whole set.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from engine.commands.audit_command import audit
from engine.commands.audit_sheet import pairs_sheet
from engine.commands.cached_stages import open_cache
from engine.commands.data_commands import data_stages
from engine.data.duplicates import detail_threshold, registered_pairs, thumbnails
from engine.data.images import decode_image
from engine.stages.dataset import read_table
from engine.types import LesionTable, strings
from experiments.common import RESULTS, _progress, provenance, save, this_command

CONFIG = Path(__file__).parent / "configs" / "ham10000_64.yaml"
KEPT_SIDE = 0.95
QUALITY = 90
LOW_QUALITY = (30, 71)
FAMILIES = 25
"""Images of which all four copies are planted at once."""
ALLOWED = 1 / 1000
"""False alarms an image."""
Picture = Image.Image
Plant = Callable[[Picture, np.random.Generator], Picture]


def mirrored(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the image mirrored left to right or upside down."""
    ways = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)
    return image.transpose(ways[rng.integers(2)])


def rotated(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the image rotated by 90, 180 or 270 degrees."""
    ways = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(ways[rng.integers(3)])


def cropped(image: Picture, rng: np.random.Generator) -> Picture:
    """Return 95 % of either side, cut at a random place."""
    width, height = (round(KEPT_SIDE * side) for side in image.size)
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def recompressed(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the image after JPEG of quality 30 to 70."""
    return _jpeg(image, int(rng.integers(*LOW_QUALITY)))


def all_at_once(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the image mirrored, rotated, cropped and re-compressed."""
    for change in (mirrored, rotated, cropped, recompressed):
        image = change(image, rng)
    return image


PLANTS: dict[str, Plant] = {
    "mirrored": mirrored, "rotated": rotated, "cropped": cropped, "recompressed": recompressed, "all": all_at_once,
}  # fmt: skip


def plant(
    paths: list[str], copies: int, size: int, rng: np.random.Generator
) -> tuple[Any, list[tuple[int, str]]]:
    """Return planted images (M, S, S, 3) and, for each, (the row it is a copy of, the kind)."""
    rows = rng.permutation(len(paths))
    plan = [(int(rows[i * copies + k]), name) for i, name in enumerate(PLANTS) for k in range(copies)]
    singles = [name for name in PLANTS if name != "all"]
    families = rows[len(PLANTS) * copies :][:FAMILIES]
    plan += [(int(row), f"one of four: {name}") for row in families for name in singles]
    made = []
    for row, name in plan:
        with Image.open(paths[row]) as opened:
            changed = PLANTS[name.removeprefix("one of four: ")](opened.convert("RGB"), rng)
        made.append(decode_image(np.asarray(_jpeg(changed, QUALITY)), size))
    return np.stack(made), plan


def measure(images: Any, table: LesionTable, copies: int, rng: np.random.Generator) -> dict[str, Any]:
    """Plant copies in a set; return each kind's scores (NaN: not even registered) and the pairs nobody planted."""
    single = np.unique(table.lesion_id, return_index=True)[1]
    planted, plan = plant([str(table.path[i]) for i in single], copies, images.shape[1], rng)
    everything = np.concatenate([images, planted])
    group = strings([*table.lesion_id, *(f"planted {i}" for i in range(len(plan)))])
    start = time.perf_counter()
    found = registered_pairs(thumbnails(everything), group, _progress)
    seconds = time.perf_counter() - start
    score = {tuple(map(int, p)): float(c) for p, c in zip(found.pairs_P2, found.correlation_P, strict=True)}
    count = len(table)
    scores = [(name, score.get((int(single[row]), count + i), np.nan)) for i, (row, name) in enumerate(plan)]
    source = [table.lesion_id[single[row]] for row, _ in plan]
    lesion = np.array([*table.lesion_id, *source])
    unplanted = [
        (str(table.image_id[a]), str(table.image_id[b]), value)
        for (a, b), value in sorted(score.items(), key=lambda item: -item[1])
        if b < count
    ]
    crossed = [value for (a, b), value in score.items() if b >= count and lesion[a] != lesion[b]]
    return {
        "n_images": count,
        "scores": scores,
        "unplanted": unplanted,
        "crossed": crossed,
        "seconds": seconds,
    }


def false_alarms(found: dict[str, Any], by_eye: dict[tuple[str, str], str]) -> list[float]:
    """Return the scores of pairs that show two lesions (or that nobody looked at), highest first."""
    scores = [value for a, b, value in found["unplanted"] if by_eye.get((a, b)) != "same lesion"]
    return sorted(scores + found["crossed"], reverse=True)


def summary(found: dict[str, Any], threshold: float, by_eye: dict[tuple[str, str], str]) -> dict[str, Any]:
    """Return recall by kind and false alarms at a threshold, and at the strictest one the allowance permits."""
    alarms = false_alarms(found, by_eye)
    kinds: dict[str, list[float]] = {}
    for name, value in found["scores"]:
        kinds.setdefault(name.split(":")[0], []).append(value)
    everything = [value for values in kinds.values() for value in values]
    allowed = int(ALLOWED * found["n_images"])
    strict = max(threshold, alarms[allowed] if len(alarms) > allowed else 0.0)
    return {
        "n_images": found["n_images"],
        "planted": len(everything),
        "seconds": round(found["seconds"], 1),
        "threshold": round(threshold, 4),
        "recall": share(everything, threshold),
        "recall_by_kind": {name: share(values, threshold) for name, values in kinds.items()},
        "false_alarms": sum(value > threshold for value in alarms),
        "false_alarms_per_1000": round(
            1000 * sum(value > threshold for value in alarms) / found["n_images"], 2
        ),
        "recall_at_one_in_1000": share(everything, strict),
        "highest_false_alarms": [round(value, 4) for value in alarms[:10]],
        "lowest_planted": [round(v, 4) for v in sorted(np.nan_to_num(everything))[:10]],
    }


def share(values: list[float], threshold: float) -> float:
    """Return the share above a threshold."""
    return round(float(np.mean(np.nan_to_num(values, nan=-1.0) > threshold)), 4)


def halves(lesion_id: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return the rows of one random half of the lesions and of the other."""
    names = rng.permutation(np.unique(lesion_id))
    one = np.isin(lesion_id, names[: len(names) // 2])
    return np.flatnonzero(one), np.flatnonzero(~one)


def read_by_eye(path: Path) -> dict[tuple[str, str], str]:
    """Return verdicts by pair; empty without the file."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as handle:
        return {(row["image_id_1"], row["image_id_2"]): row["verdict"] for row in csv.DictReader(handle)}


def main() -> None:
    """Audit the whole set, then plant in both halves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="images of HAM10000 to use; all without it")
    parser.add_argument("--name", default="audit")
    arguments = parser.parse_args()
    root = Path(os.environ["HARDCASE_DATA"]) / "ham10000"
    by_eye = read_by_eye(RESULTS / arguments.name / "by_eye.csv")
    with tempfile.TemporaryDirectory() as place:
        changes = [f"data.root={root}", f"output={place}", "backend.threads=1", "data.workers=1"]
        changes += [f"data.limit={arguments.limit}"] if arguments.limit else []
        config, runner = open_cache(CONFIG, changes, Console())
        whole = audit(config, runner, Console())
        stages, _ = data_stages(config, runner)
        table, images = read_table(stages / "table.parquet"), np.load(stages / "images.npy", mmap_mode="r")
        rng = np.random.default_rng(arguments.seed)
        found = [
            measure(images[rows], table.take(rows), arguments.copies, rng)
            for rows in halves(table.lesion_id, rng)
        ]
        threshold = detail_threshold(images.shape[1])
        figures = {
            **provenance(this_command(), config),
            "audit": {k: v for k, v in whole.items() if k not in ("masks",)},
            "by_eye": {f"{a} {b}": verdict for (a, b), verdict in by_eye.items()},
            "chosen_on": summary(found[0], threshold, by_eye),
            "measured_on": summary(found[1], threshold, by_eye),
        }
        folder = save(arguments.name, figures)
        first = [p for p in whole["pairs"] if p["kind"] != "exact"][:16]
        if first:
            pairs_sheet(first, table, images, config.data.fit, columns=2).save(
                folder / "pairs.png", optimize=True
            )
    print(folder)


def _jpeg(image: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


if __name__ == "__main__":
    main()
