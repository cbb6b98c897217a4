"""Measures how well the audit finds duplicates planted in HAM10000: threshold from half of the lesions, result on the rest.

usage: HARDCASE_DATA=... python -m experiments.audit [--copies 100] [--seed 0] [--name audit]

Copies of images are saved as files and planted under new lesion ids: mirrored, rotated by 90 to 270 degrees, cropped by 5 %,
re-compressed, all of these, and four copies of one image. Pairs of different lesions that nobody planted were judged by eye
(by_eye.csv in the results folder). A pair that shows one lesion is no false alarm; a pair that nobody looked at is one.
`hardcase data audit` itself is run and timed on the whole set.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from engine.artifacts import decoded_images, lesions
from engine.commands.audit_command import audit
from engine.commands.audit_sheet import pairs_sheet
from engine.commands.cached_stages import open_cache
from engine.commands.data_commands import data_stages
from engine.data.duplicates.search import detail_threshold, registered_pairs, thumbnails
from engine.types import LesionTable, strings
from experiments.lib.bench import progress_line
from experiments.lib.keeping import RESULTS, data_root, provenance, save, script, this_command
from experiments.lib.planting import plant

CONFIG = Path(__file__).parent / "configs" / "ham10000_64.yaml"
ALLOWED = 1 / 1000
"""False alarms an image."""


def measure(images: Any, table: LesionTable, copies: int, rng: np.random.Generator) -> dict[str, Any]:
    """Plant copies in a set; return each kind's scores (NaN: did not stand out) and all pairs of two lesion ids."""
    single = np.unique(table.lesion_id, return_index=True)[1]
    planted, plan = plant([str(table.path[i]) for i in single], copies, images.shape[1], rng)
    everything = np.concatenate([images, planted])
    group = strings([*table.lesion_id, *(f"planted {i}" for i in range(len(plan)))])
    start = time.process_time()
    found = registered_pairs(thumbnails(everything), group, progress_line)
    seconds = time.process_time() - start
    score = {tuple(map(int, p)): float(c) for p, c in zip(found.pairs_P2, found.correlation_P, strict=True)}
    count = len(table)
    scores = [(name, score.get((int(single[row]), count + i), np.nan)) for i, (row, name) in enumerate(plan)]
    shown = np.concatenate([np.arange(count), [single[row] for row, _ in plan]])
    strangers = []
    for pair, value in score.items():
        one, two = sorted(int(shown[row]) for row in pair)
        if table.lesion_id[one] != table.lesion_id[two]:
            strangers.append((str(table.image_id[one]), str(table.image_id[two]), value))
    return {"n_images": count, "scores": scores, "strangers": strangers, "cpu_seconds": seconds}


def summary(found: dict[str, Any], threshold: float, judged: Judged) -> dict[str, Any]:
    """Return recall by kind and false alarms, at the finder's threshold and where the allowance is spent.

    False alarms are pairs of two lesion ids, but for those that show one lesion to the eye; a copy stands for its source.
    """
    blind = sorted((value for _, _, value in found["strangers"]), reverse=True)
    alarms = sorted((v for a, b, v in found["strangers"] if not judged.one_lesion(a, b)), reverse=True)
    kinds: dict[str, list[float]] = {}
    for name, value in found["scores"]:
        kinds.setdefault(name.split(":")[0], []).append(value)
    everything = [value for values in kinds.values() for value in values]
    return {
        "n_images": found["n_images"],
        "planted": len(everything),
        "cpu_seconds": round(found["cpu_seconds"], 1),
        "at_the_finders_threshold": {
            "threshold": round(threshold, 4),
            "recall": share(everything, threshold),
            "recall_by_kind": {name: share(values, threshold) for name, values in kinds.items()},
            "false_alarms": sum(value > threshold for value in alarms),
            "one_lesion_by_eye": sum(v > threshold for v in blind) - sum(v > threshold for v in alarms),
        },
        "at_one_false_alarm_in_1000": spent(everything, alarms, found["n_images"]),
        "the_same_if_every_unplanted_pair_were_false": spent(everything, blind, found["n_images"]),
        "highest_false_alarms": [round(value, 4) for value in alarms[:10]],
        "lowest_planted": [round(v, 4) for v in sorted(np.nan_to_num(everything))[:10]],
        "nobody_looked_at": [
            (a, b, round(v, 4)) for a, b, v in found["strangers"] if v > threshold and not judged.seen(a, b)
        ],
    }


def spent(planted: list[float], alarms: list[float], n_images: int) -> dict[str, float]:
    """Return recall at the lowest threshold that leaves ALLOWED false alarms an image (``alarms``: highest first)."""
    allowed = int(ALLOWED * n_images)
    threshold = alarms[allowed] if len(alarms) > allowed else 0.0
    return {
        "false_alarms": min(allowed, len(alarms)),
        "threshold": round(threshold, 4),
        "recall": share(planted, threshold),
    }


def share(values: list[float], threshold: float) -> float:
    """Return the share above a threshold."""
    return round(float(np.mean(np.nan_to_num(values, nan=-1.0) > threshold)), 4)


def halves(lesion_id: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return the rows of one random half of the lesions and of the other."""
    names = rng.permutation(np.unique(lesion_id))
    one = np.isin(lesion_id, names[: len(names) // 2])
    return np.flatnonzero(one), np.flatnonzero(~one)


@dataclass(frozen=True)
class Judged:
    """What a person saw: pairs of images looked at, and pairs of lesion ids that are one lesion."""

    pairs: frozenset[frozenset[str]]
    lesions: frozenset[frozenset[str]]
    lesion_of: dict[str, str]

    @classmethod
    def read(cls, path: Path, table: LesionTable) -> Judged:
        """Read by_eye.csv (image_id_1, image_id_2, verdict); without the file nobody looked."""
        rows = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as handle:
                rows = list(csv.DictReader(handle))
        lesion_of = dict(zip(map(str, table.image_id), map(str, table.lesion_id), strict=True))
        known = [row for row in rows if {row["image_id_1"], row["image_id_2"]} <= set(lesion_of)]
        return cls(
            frozenset(frozenset((row["image_id_1"], row["image_id_2"])) for row in known),
            frozenset(
                frozenset((lesion_of[row["image_id_1"]], lesion_of[row["image_id_2"]]))
                for row in known
                if row["verdict"] == "one lesion"
            ),
            lesion_of,
        )

    def seen(self, one: str, two: str) -> bool:
        """Whether somebody looked at this pair of images, or found their lesions to be one."""
        return frozenset((one, two)) in self.pairs or self.one_lesion(one, two)

    def one_lesion(self, one: str, two: str) -> bool:
        """Whether two images under different lesion ids show one lesion."""
        return frozenset((self.lesion_of[one], self.lesion_of[two])) in self.lesions


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
    root = data_root("ham10000")
    with tempfile.TemporaryDirectory() as place:
        changes = [f"data.root={root}", f"output={place}", "backend.threads=1", "data.workers=1"]
        changes += [f"data.limit={arguments.limit}"] if arguments.limit else []
        config, runner = open_cache(CONFIG, changes, Console())
        start = time.process_time()
        whole = audit(config, runner, Console())
        whole["cpu_seconds"] = round(time.process_time() - start, 1)
        stages, _ = data_stages(config, runner)
        table, images = lesions.read(stages), decoded_images.open_images(stages)
        judged = Judged.read(RESULTS / arguments.name / "by_eye.csv", table)
        rng = np.random.default_rng(arguments.seed)
        found = [
            measure(images[rows], table.take(rows), arguments.copies, rng)
            for rows in halves(table.lesion_id, rng)
        ]
        threshold = detail_threshold(images.shape[1])
        figures = {
            **provenance(this_command(), config),
            "audit": {k: v for k, v in whole.items() if k not in ("masks",)},
            "pairs_not_one_lesion_by_eye": [
                (p["image_id_1"], p["image_id_2"], p["score"])
                for p in whole["pairs"]
                if not judged.one_lesion(p["image_id_1"], p["image_id_2"])
            ],
            "chosen_on": summary(found[0], threshold, judged),
            "measured_on": summary(found[1], threshold, judged),
        }
        folder = save(arguments.name, figures)
        first = [p for p in whole["pairs"] if p["kind"] != "exact"][:16]
        if first:
            pairs_sheet(first, table, images, config.data.fit, columns=2).save(
                folder / "pairs.png", optimize=True
            )
    print(folder)


if __name__ == "__main__":
    script(main)
