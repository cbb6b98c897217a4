"""Measures the engine's parts beside what one would write without it, and writes the page of ratios against targets.

usage: python -m experiments.benchmarks [--rows retrieval ...] [--full] [--turns 5]

Rows that are not asked for stay as they were measured before, with their own date and commit. ``--rows`` alone writes the
page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import faiss
import torch

from experiments.benchmarks import (
    commands,
    embedding,
    forward,
    images,
    neighbours,
    retrieval,
    rounds,
    sampling,
    training_steps,
    vae_decode,
)  # fmt: skip
from experiments.benchmarks.plot import draw
from experiments.benchmarks.report import page
from experiments.lib.keeping import RESULTS, provenance, read_result, save, script, this_command

NAME = "benchmarks"
NOTES = RESULTS / NAME / "misses.md"
"""Written by hand: the reason of each miss, and the levers; the page ends with it."""
ROWS: dict[str, Callable[[int, bool], dict[str, Any]]] = {
    "images": images.measure,
    "retrieval": retrieval.measure,
    "neighbours": neighbours.measure,
    "training_steps": training_steps.measure,
    "vae_decode": vae_decode.measure,
    "embedding": embedding.measure,
    "forward": forward.measure,
    "sampling": sampling.measure,
    "commands": commands.measure,
    "rounds": rounds.measure,
}


def main() -> None:
    """Measure the rows asked for, keep each one's figures, and write the page of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--full", action="store_true", help="all sizes, more work per turn")
    parser.add_argument("--turns", type=int, default=5, help="turns over all ways of a row")
    parser.add_argument("--busy", action="store_true", help="say that other work ran beside it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    for name in given.rows:
        print(name, flush=True)
        how = {**provenance(this_command()), "threads": 1, "beside_other_work": given.busy}
        save(f"{NAME}/{name}", {"provenance": how, "rows": ROWS[name](given.turns, given.full)})
    found = {name: RESULTS / NAME / name / "result.json" for name in ROWS}
    kept = {name: read_result(path) for name, path in found.items() if path.exists()}
    folder = save(NAME, {name: one["provenance"] for name, one in kept.items()})
    rows = {what: row for one in kept.values() for what, row in one["rows"].items()}
    (folder / "README.md").write_text(page(rows, made(kept), NOTES.read_text("utf-8")), "utf-8")
    draw(rows, folder)
    print((folder / "README.md").read_text("utf-8"))


def made(kept: dict[str, Any]) -> str:
    """Return where and when the rows were measured."""
    machines = sorted({one["provenance"]["machine"] for one in kept.values()})
    dates = sorted({one["provenance"]["date"] for one in kept.values()})
    busy = sorted(name for name, one in kept.items() if one["provenance"]["beside_other_work"])
    beside = f" Beside other work on the machine: {', '.join(busy)}." if busy else ""
    return f"{'; '.join(machines)}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}.{beside}"


if __name__ == "__main__":
    script(main)
