"""Measures distilled students beside the denoiser that taught them: fidelity, evaluations, seconds, and when it pays.

usage: python -m experiments.distill RUN [--count 1400] [--steps 4 2] [--train-steps 1000] [--name distill/NAME]
       python -m experiments.distill CONFIG [key=value ...]      (trains the foundation first)

The same classes, conditioning and seeds for all, class shares as in training, under the run's guidance. Ways: the run's
sampler; the denoiser itself in as few evaluations; a student of each number of steps. KID against train images on the
judge's features, with the KID of unseen real images as the floor; the judge's agreement with the intended class. Seconds are
medians of turns, each way once a turn, over the same rows. ``pays_from``: the images from which training and sampling a
student take less time than sampling the denoiser, training in processor seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.artifacts import synthesized
from engine.artifacts.generator_parts import read_denoiser
from engine.artifacts.whole_files import write_text
from engine.config import DistillConfig
from experiments.lib.bench import Bench, run_of
from experiments.lib.keeping import provenance, save, script, this_command
from experiments.samplers import shares

TURNS = 3
TIMED = 64
"""Images that each way makes a turn."""
SHOWN = 12
TARGET = 1.1
"""KID of a student over that of the run's own sampling that counts as equal."""

COLUMNS = (
    "way", "steps", "evaluations", "KID x 1000", "over the first", "coverage", "judge agrees, %", "times as fast",
    "pays from",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to sample: settings of section synthesis, or a student and what teaching it cost and gave."""

    name: str
    settings: dict[str, Any]
    student: tuple[Path, DistillConfig] | None = None
    taught: dict[str, Any] | None = None


def main() -> None:
    """Teach, sample, measure, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="run folder or config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--count", type=int, default=1400)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--train-steps", type=int, default=DistillConfig().train_steps)
    parser.add_argument("--lr", type=float, default=DistillConfig().lr)
    parser.add_argument("--name", default=None)
    arguments = parser.parse_args()
    run = run_of(arguments.source, arguments.overrides)
    bench = Bench.open(run, run.parent / f".bench-{run.name}")
    ways = [*untaught(bench, arguments.steps)]
    ways += [teach(bench, steps, arguments.train_steps, arguments.lr) for steps in arguments.steps]
    condition = bench.condition(shares(bench, arguments.count))
    made = [bench.synthesize(condition, student=way.student, states=0, **way.settings)[0] for way in ways]
    seconds = in_turns(bench, bench.cut(condition, TIMED)[0], ways)
    rows = [row(bench, condition, *each) for each in zip(ways, made, seconds, strict=True)]
    compare(rows)
    name = arguments.name or f"distill/{run.name}"
    figures = {
        **provenance(this_command(), bench.config),
        "count": arguments.count,
        "turns": TURNS,
        "rows": rows,
    }
    folder = save(name, figures)
    lines = table(rows)
    write_text(folder / "table.md", "\n".join(lines) + "\n")
    picture(made, folder / "samples.png")
    print("\n".join([*lines, str(folder)]))


def untaught(bench: Bench, steps: list[int]) -> list[Way]:
    """Return the run's own way, and the denoiser's in as many evaluations as students of ``steps`` take."""
    section = bench.config.synthesis
    branches = 1 if section.guidance_scale == 1.0 and section.lesion_guidance_scale in (None, 1.0) else 2
    ways = [Way(name=f"denoiser, {section.sampler}", settings={})]
    for few in sorted({max(1, count // branches) for count in steps}, reverse=True):
        ways.append(Way(name="denoiser, ddim", settings={"sampler": "ddim", "steps": few}))
        if few > 1:
            ways.append(Way(name="denoiser, dpmpp", settings={"sampler": "dpmpp", "steps": few}))
    return ways


def teach(bench: Bench, steps: int, train_steps: int, lr: float) -> Way:
    """Train a student."""
    start = time.process_time()
    folder, section = bench.distill(steps=steps, train_steps=train_steps, lr=lr)
    seconds = time.process_time() - start
    facts = read_denoiser(folder)
    taught = {
        **section.model_dump(),
        "seconds": seconds,
        "distance": facts.distance,
        "distance_teacher": facts.distance_teacher,
    }
    return Way(name="student", settings={}, student=(folder, section), taught=taught)


def in_turns(bench: Bench, condition: Path, ways: list[Way]) -> list[list[float]]:
    """Return seconds per image of each way, once a turn."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(TURNS):
        for way, own in zip(ways, seconds, strict=True):
            made, spent, _ = bench.synthesize(condition, student=way.student, **way.settings)
            own.append(spent / len(synthesized.open_images(made)))
    return seconds


def row(bench: Bench, condition: Path, way: Way, made: Path, seconds: list[float]) -> dict[str, Any]:
    """Return the figures of one way."""
    accept, _ = bench.accept(condition, made)
    fidelity = bench.fidelity(condition, made)["overall"]
    facts = synthesized.read_facts(made)
    names = ("kid", "kid_unseen", "fid", "precision", "recall", "coverage")
    return {
        "way": way.name,
        "settings": way.settings,
        "taught": way.taught,
        "steps": facts.steps,
        "nfe": facts.nfe,
        "seconds_per_image": statistics.median(seconds),
        "seconds": seconds,
        **{name: fidelity[name] for name in names},
        "agreement": accept["agreement"],
        "memorized": accept["memorized"]["rate"],
    }


def compare(rows: list[dict[str, Any]]) -> None:
    """Add each way's ratios to the first one's, turn by turn for seconds, and from how many images a student pays."""
    own = rows[0]
    for row in rows:
        speeds = [a / b for a, b in zip(own["seconds"], row["seconds"], strict=True)]
        row["times_as_fast"] = {
            "median": statistics.median(speeds),
            "least": min(speeds),
            "most": max(speeds),
        }
        row["kid_ratio"] = row["kid"]["value"] / own["kid"]["value"] if row["kid"] and own["kid"] else None
        saved = own["seconds_per_image"] - row["seconds_per_image"]
        if row["taught"]:
            row["pays_from"] = row["taught"]["seconds"] / saved if saved > 0 else None


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table, and whether a student is within the target."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        speed = row["times_as_fast"]
        kid = row["kid"]
        cells = [
            row["way"],
            f"{row['steps']}",
            f"{row['nfe']:g}",
            f"{1000 * kid['value']:.1f} ({1000 * kid['low']:.1f} to {1000 * kid['high']:.1f})" if kid else "",
            f"{row['kid_ratio']:.2f}" if row["kid_ratio"] else "",
            f"{row['coverage']['value']:.2f}" if row["coverage"] else "",
            f"{100 * row['agreement']:.0f}",
            f"{speed['median']:.1f} ({speed['least']:.1f} to {speed['most']:.1f})",
            f"{row['pays_from']:,.0f} images" if row.get("pays_from") else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    floor = rows[0]["kid_unseen"]
    if floor:
        lines += ["", f"Unseen real images: KID x 1000 {1000 * floor['value']:.1f}."]
    for row in rows:
        if row["taught"] and row["kid_ratio"] is not None:
            met = "within" if row["kid_ratio"] <= TARGET else "not within"
            lines.append(f"A student of {row['steps']} evaluations is {met} 10 % of the run's own KID.")
    return lines


def picture(made: list[Path], path: Path) -> None:
    """Write the first samples, a row per way; the same parents and seeds stand in a column."""
    rows = [np.concatenate(list(synthesized.open_images(folder)[:SHOWN]), axis=1) for folder in made]
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    script(main)
