"""Measures how well second photographs of one lesion are found: lesions of HAM10000 with several images, ids hidden.

usage: HARDCASE_DATA=... python -m experiments.audit_lesions [--limit N] [--seed 0] [--scores FILE.npz]

Every pair of images under one lesion id should be found. A pair under two ids is a false alarm, unless by_eye.csv in the
folder of results says that it shows one lesion; a pair that nobody looked at is one. The threshold is chosen on a random
half of the lesions, one false alarm in 1,000 images, and the other half is the result. `before` is the finder of pixels
(`engine/data/duplicates/search.py`), `after` both finders together. A pair counts as `joined` where the pairs found lead
from one image to the other, through others, as `data.split.merge_duplicates` goes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from engine.config import load_config
from engine.data.decoding import decode_image, open_picture, rgb
from engine.data.duplicates.keypoints import find_keypoints
from engine.data.duplicates.same_lesion import LISTED, SURE, LesionPairs, verified_pairs
from engine.data.duplicates.search import detail_threshold, registered_pairs, thumbnails
from engine.data.images import available_cores
from engine.data.readers.table import read
from engine.types import LesionTable
from experiments.audit import ALLOWED, Judged, halves
from experiments.lib.bench import progress_line
from experiments.lib.keeping import RESULTS, data_root, provenance, save, script, this_command

CONFIG = Path(__file__).parent / "configs" / "ham10000_64.yaml"
LARGEST_SCORES = 30
COLUMNS = 5
TILE = (120, 90)


@dataclass(frozen=True)
class Scored:
    """Pairs of rows (P, 2) and their scores (P,); higher is more alike."""

    pairs: Any
    score: Any

    def within(self, rows: Any) -> Scored:
        """Return the pairs of which both images are among ``rows``."""
        kept = np.isin(self.pairs, rows).all(axis=1)
        return Scored(self.pairs[kept], self.score[kept])


def true_pairs(table: LesionTable, rows: Any) -> Any:
    """Return all pairs (P, 2) of ``rows`` under one lesion id."""
    of: dict[str, list[int]] = {}
    for row in rows:
        of.setdefault(str(table.lesion_id[row]), []).append(int(row))
    found = [pair for images in of.values() for pair in combinations(sorted(images), 2)]
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def alarms(scored: Scored, table: LesionTable, judged: Judged) -> Any:
    """Return which pairs are false alarms by id, and which remain so by eye (P, 2)."""
    id_1, id_2 = (table.lesion_id[scored.pairs[:, k]] for k in (0, 1))
    by_id = id_1 != id_2
    name = table.image_id[scored.pairs]
    one = [judged.one_lesion(str(a), str(b)) for a, b in name]
    return np.stack([by_id, by_id & ~np.array(one, dtype=bool).reshape(-1)], axis=1)


def threshold_for(scored: Scored, false: Any, images: int) -> float:
    """Return the score over which at most ALLOWED false alarms an image are left."""
    worst = np.sort(scored.score[false])[::-1]
    allowed = int(ALLOWED * images)
    return float(worst[allowed]) if len(worst) > allowed else 0.0


def recall(scored: Scored, threshold: float, wanted: Any, count: int) -> dict[str, float | None]:
    """Return the shares of pairs (P, 2) found themselves, and found or joined through others."""
    kept = scored.pairs[scored.score > threshold]
    key = wanted[:, 0] * count + wanted[:, 1]
    graph = coo_matrix((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), (count, count))
    part = connected_components(graph, directed=False)[1]
    if not len(wanted):
        return {"recall": None, "recall_joined": None}
    return {
        "recall": round(float(np.isin(key, kept[:, 0] * count + kept[:, 1]).mean()), 4),
        "recall_joined": round(float((part[wanted[:, 0]] == part[wanted[:, 1]]).mean()), 4),
    }


def result(scored: Scored, threshold: float, table: LesionTable, rows: Any, judged: Judged) -> dict[str, Any]:
    """Return recall and false alarms among ``rows`` over a threshold. Only true pairs join others."""
    inside = scored.within(rows)
    false = alarms(inside, table, judged)
    over = inside.score > threshold
    no_alarm = Scored(inside.pairs[~false[:, 1]], inside.score[~false[:, 1]])
    wanted = true_pairs(table, rows)
    return {
        "images": len(rows),
        "pairs_within_lesions": len(wanted),
        "threshold_over": round(threshold, 4),
        **recall(no_alarm, threshold, wanted, len(table)),
        "false_by_id": int((over & false[:, 0]).sum()),
        "false_by_eye": int((over & false[:, 1]).sum()),
        "nobody_looked_at": [
            (str(a), str(b))
            for a, b in table.image_id[inside.pairs[over & false[:, 1]]]
            if not judged.seen(a, b)
        ],
    }


def pixels(table: LesionTable) -> tuple[Scored, float]:
    """Return the pairs that the finder of pixels scores, and its threshold."""
    images = np.stack([decode_image(str(path), 64) for path in table.path])
    found = registered_pairs(thumbnails(images), table.image_id, progress_line)
    return Scored(found.pairs_P2, found.correlation_P.astype(np.float64)), detail_threshold(64)


def both(by_pixels: Scored, pixel_threshold: float, second: LesionPairs) -> Scored:
    """Return the pairs of both finders; score: inliers, or infinite where the finder of pixels accepts the pair."""
    sure = by_pixels.pairs[by_pixels.score > pixel_threshold]
    known = {tuple(pair) for pair in sure.tolist()}
    alone = np.array([tuple(pair) not in known for pair in second.pairs_P2.tolist()], dtype=bool)
    return Scored(
        np.concatenate([sure, second.pairs_P2[alone]]),
        np.concatenate([np.full(len(sure), np.inf), second.inliers_P[alone].astype(np.float64)]),
    )


@dataclass(frozen=True)
class Search:
    """What both finders say of the images, ids hidden, and what it took."""

    by_pixels: Scored
    pixel_threshold: float
    both: Scored
    seconds: dict[str, float]

    @classmethod
    def run(cls, table: LesionTable) -> Search:
        """Run both finders, on as many threads as there are cores."""
        threads = available_cores()
        seconds: dict[str, float] = {}
        clock, start = time.monotonic(), time.process_time()
        by_pixels, pixel_threshold = pixels(table)
        seconds["cpu_of_pixels_with_decoding"] = time.process_time() - start
        start = time.process_time()
        keypoints = find_keypoints(table.path.tolist(), threads, progress_line)
        seconds["cpu_of_keypoints"] = time.process_time() - start
        start = time.process_time()
        second = verified_pairs(keypoints, table.image_id, threads, progress_line)
        seconds["cpu_of_candidates_and_verification"] = time.process_time() - start
        seconds["clock"] = time.monotonic() - clock
        rounded = {name: round(value, 1) for name, value in seconds.items()}
        return cls(by_pixels, pixel_threshold, both(by_pixels, pixel_threshold, second), rounded)

    def write(self, path: Path) -> None:
        """Keep the search, so that pairs looked at afterwards can be counted anew."""
        np.savez_compressed(
            path,
            pixel_pairs=self.by_pixels.pairs,
            pixel_score=self.by_pixels.score,
            pixel_threshold=self.pixel_threshold,
            pairs=self.both.pairs,
            score=self.both.score,
            seconds_of=list(self.seconds),
            seconds=list(self.seconds.values()),
        )

    @classmethod
    def read(cls, path: Path) -> Search:
        """Read what ``write`` kept."""
        with np.load(path) as kept:
            return cls(
                Scored(kept["pixel_pairs"], kept["pixel_score"]),
                float(kept["pixel_threshold"]),
                Scored(kept["pairs"], kept["score"]),
                dict(zip(kept["seconds_of"].tolist(), kept["seconds"].tolist(), strict=True)),
            )


def figures_of(search: Search, table: LesionTable, judged: Judged, seed: int) -> dict[str, Any]:
    """Return recall and false alarms of both finders by half and threshold, and the most suspicious pairs across ids."""
    found: dict[str, Any] = {"seconds": search.seconds}
    chosen, measured = halves(table.lesion_id, np.random.default_rng(seed))
    everything = np.arange(len(table))
    finders = {
        "before": (search.by_pixels, {"at_the_finders_threshold": search.pixel_threshold}),
        "after": (search.both, {"listed": LISTED - 0.5, "joined_by_merge_duplicates": SURE - 0.5}),
    }
    for name, (scored, own) in finders.items():

        def cut(rows: Any, scored: Scored = scored) -> float:
            inside = scored.within(rows)
            return threshold_for(inside, alarms(inside, table, judged)[:, 1], len(rows))

        found[name] = {
            "chosen_on_one_half": result(scored, cut(chosen), table, chosen, judged),
            "measured_on_the_other": result(scored, cut(chosen), table, measured, judged),
            "whole_set_at_1_in_1000": result(scored, cut(everything), table, everything, judged),
            **{f"whole_set_{k}": result(scored, v, table, everything, judged) for k, v in own.items()},
        }
    false = alarms(search.both, table, judged)[:, 0] & np.isfinite(search.both.score)
    rows = np.flatnonzero(false)[np.argsort(-search.both.score[false], kind="stable")][:LARGEST_SCORES]
    found["most_suspicious_across_ids"] = [
        (*map(str, table.image_id[search.both.pairs[row]]), int(search.both.score[row])) for row in rows
    ]
    return found


def sheet(pairs: list[tuple[str, str, int]], table: LesionTable) -> Image.Image:
    """Return the pairs side by side, COLUMNS to a row, each under its ids and score."""
    path = dict(zip(table.image_id.tolist(), table.path.tolist(), strict=True))
    wide, high = 2 * TILE[0] + 8, TILE[1] + 14
    drawn = Image.new("RGB", (COLUMNS * wide, -(-len(pairs) // COLUMNS) * high), "white")
    draw = ImageDraw.Draw(drawn)
    for place, (one, two, score) in enumerate(pairs):
        left, top = place % COLUMNS * wide, place // COLUMNS * high
        draw.text((left + 2, top + 1), f"{one[5:]} {two[5:]}  {score}", fill="black")
        for k, name in enumerate((one, two)):
            picture = rgb(open_picture(path[name]).image).resize(TILE)
            drawn.paste(picture, (left + k * (TILE[0] + 2), top + 13))
    return drawn


def main() -> None:
    """Read HAM10000, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="images of HAM10000 to use; all without it")
    parser.add_argument(
        "--scores", type=Path, help="file of scores: read where it exists, else written after the search"
    )
    parser.add_argument("--name", default="audit/lesions")
    arguments = parser.parse_args()
    changes = [f"data.root={data_root('ham10000')}"]
    changes += [f"data.limit={arguments.limit}"] if arguments.limit else []
    config = load_config(CONFIG, changes)
    table = read(config.data, config.seed).table
    judged = Judged.read(RESULTS / "audit" / "by_eye.csv", table)
    if arguments.scores is not None and arguments.scores.exists():
        search = Search.read(arguments.scores)
    else:
        search = Search.run(table)
        if arguments.scores is not None:
            search.write(arguments.scores)
    figures = {**provenance(this_command(), config), **figures_of(search, table, judged, arguments.seed)}
    folder = save(arguments.name, figures)
    if figures["most_suspicious_across_ids"]:
        sheet(figures["most_suspicious_across_ids"], table).save(folder / "pairs.jpg", quality=80)
    print(folder)


if __name__ == "__main__":
    script(main)
