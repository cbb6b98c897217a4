"""Measures what the linear start brings: two VAEs trained for the same few steps, from random weights and from that start.

usage: python -m experiments.vae_start RUN [--steps 250] [--batch 16] [--name vae_start]

Everything else is as in the run's config. Both learn from train lesions and are measured on mine and val lesions (see
experiments.lib.reconstructions).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from engine.diffusion.codec import load_codec
from experiments.lib.bench import Bench
from experiments.lib.keeping import provenance, save, script, this_command
from experiments.lib.reconstructions import compare, sheet


def main() -> None:
    """Train both, measure, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--name", default="vae_start")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench.open(arguments.run, Path(place) / "bench")
        codecs = {}
        for start in ("random", "linear"):
            changes = {"start": start, "steps": arguments.steps, "batch_size": arguments.batch}
            codecs[start] = load_codec(bench.train_vae(**changes))
        budget = {"steps": arguments.steps, "batch_size": arguments.batch}
        figures = {**provenance(this_command(), bench.config), **budget, **compare(bench, codecs)}
        folder = save(arguments.name, figures)
        sheet(bench, codecs, folder / "reconstructions.png")
    print(folder)


if __name__ == "__main__":
    script(main)
