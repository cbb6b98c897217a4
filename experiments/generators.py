"""Compares diffusion with a GAN, classical augmentation and retrieved images: closeness, variety, label, copies, cost.

usage: python -m experiments.generators RUN [--count 350] [--gan-steps 4000] [--name generators]

All have the same parents, classes and seeds; figures are taken before any gate. Classical and retrieved images are (changed)
real ones: they bound what closeness can be, not what a generator adds. The GAN is trained here, on the same train lesions.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from engine.artifacts import conditioning, synthesized
from engine.stages import gan as gan_stage
from experiments.lib.bench import Bench
from experiments.lib.keeping import RESULTS, provenance, read_result, save, script, this_command

NAMES = ("diffusion", "dcgan", "classical", "retrieved")
FIGURES = ("kid", "kid_unseen", "fid", "precision", "recall", "density", "coverage")
SHOWN = 4
TILE = 80


def main() -> None:
    """Measure each generator."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=350)
    parser.add_argument("--gan-steps", type=int, default=None)
    parser.add_argument("--name", default="generators")
    arguments = parser.parse_args()
    bench = Bench.open(arguments.run, arguments.run.parent / f".bench-{arguments.run.name}")
    kept = RESULTS / arguments.name / "result.json"
    rows = read_result(kept)["generators"] if kept.exists() else {}
    classes = bench.dataset.classes
    condition = bench.condition(dict.fromkeys(classes, -(-arguments.count // len(classes))))
    pictures = {}
    for name in NAMES:
        extra, trained = {}, None
        if name == "dcgan":
            start = time.perf_counter()
            extra = {"gan": train_gan(bench, arguments.gan_steps)}
            trained = time.perf_counter() - start
        made, seconds, info = bench.synthesize(condition, extra, generator=name)
        accept, _ = bench.accept(condition, made)
        fidelity = bench.fidelity(condition, made)
        rows[name] = {
            "training_seconds": trained,
            "images_per_second": len(synthesized.open_images(made)) / seconds,
            "nfe": info["nfe"],
            "agreement": accept["agreement"],
            "agreement_ratio": accept["agreement_ratio"],
            "memorized": accept["memorized"]["rate"],
            **{
                k: fidelity["overall"][k]
                for k in ("kid", "kid_unseen", "fid", "precision", "recall", "density", "coverage")
            },
            "per_class_kid": {dx: f["kid"] for dx, f in fidelity["per_class"].items()},
        }
        pictures[name] = synthesized.read(made)
        save(
            arguments.name,
            {**provenance(this_command(), bench.config), "count": arguments.count, "generators": rows},
        )
    dx = conditioning.read_column(condition, "dx")
    sheet(pictures, {c: np.flatnonzero(dx == c)[:SHOWN] for c in classes}, kept.parent / "generators.png")
    print(kept.parent)


def train_gan(bench: Bench, steps: int | None) -> Path:
    """Train the GAN on the run's train lesions."""
    params = gan_stage.Params.of(bench.config)
    if steps is not None:
        params = gan_stage.Params(gan=params.gan.model_copy(update={"steps": steps}))
    return bench.stage(gan_stage.STAGE, params, {}, bench.config.seed)


def sheet(pictures: dict[str, Any], shown: dict[str, Any], path: Path) -> None:
    """Write one row per class: its samples ``shown`` (rows of the conditioning) of each generator, side by side."""
    group = SHOWN * (TILE + 2) + 14
    picture = Image.new("RGB", (60 + len(pictures) * group, 20 + len(shown) * (TILE + 2)), "white")
    pen = ImageDraw.Draw(picture)
    for column, (name, images) in enumerate(pictures.items()):
        pen.text((60 + column * group, 4), name, fill="black")
        for row, (dx, samples) in enumerate(shown.items()):
            pen.text((6, 20 + row * (TILE + 2) + TILE // 2), dx, fill="black")
            for k, sample in enumerate(samples):
                tile = Image.fromarray(images[sample]).resize((TILE, TILE), Image.Resampling.BICUBIC)
                picture.paste(tile, (60 + column * group + k * (TILE + 2), 20 + row * (TILE + 2)))
    picture.save(path)


if __name__ == "__main__":
    script(main)
