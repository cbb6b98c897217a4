"""Whether a run that is killed, stopped or damaged again and again ends as one that was left alone, and what it repeats.

usage: python -m experiments.faults run CONFIG [--count 100] [--kinds kill stop flip] [--seed 0] [--with key=value ...]
       python -m experiments.faults run CONFIG --stored [--kinds kill stop flip lost] ...
       python -m experiments.faults collect

``run`` plays the config once undisturbed. Then it plays it again, each time up to a step drawn at random from those to come,
where something happens: ``kill`` (kill -9), ``stop`` (SIGTERM), or ``flip`` (kill -9, then one bit of one file of a finished
stage or a checkpoint is turned). The same command goes on, and is met again, until it ends; then a new run begins, until
``--count`` faults have happened. A run is right where report.json, apart from seconds, and every file of every stage equal
those of the undisturbed one, which is local. ``--stored`` puts the disturbed runs into a bucket of an S3 server on
loopback; there, ``lost`` is kill -9 and the loss of the machine's disk, after which another machine goes on from the bucket.
``collect`` writes README.md.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.artifacts.whole_files import write_text
from engine.store.files import write_json
from experiments.lib.disturbed import Disturbed, Stored, s3_bucket
from experiments.lib.keeping import RESULTS, provenance, read_result, run_or_collect, script, this_command

FOLDER = RESULTS / "faults"
NAMES: Final[Mapping[bool, str]] = {False: "result.json", True: "stored.json"}
"""What is kept of runs in a folder, and of those in an object store."""
SELDOM: Final = {"lost": 0.25}
"""How often a fault is drawn beside the others: another machine waits a minute until the lease of a dead one ends."""
KINDS: Final[Mapping[str, str]] = {
    "kill": "the process is killed (kill -9)",
    "stop": "SIGTERM; the exit code is 143",
    "flip": "kill -9, then one bit of a file of a finished stage or a checkpoint is turned",
    "lost": "kill -9, and the disk is lost: another machine goes on",
}


def main() -> None:
    """Run or collect."""
    parser, _, running = run_or_collect(__doc__)
    running.add_argument("--count", type=int, default=100)
    running.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=["kill", "stop", "flip"])
    running.add_argument("--stored", action="store_true")
    running.add_argument("--seed", type=int, default=0)
    found = parser.parse_args()
    if found.action == "run":
        if "lost" in found.kinds and not found.stored:
            parser.error("--kinds lost: without --stored the disk that is lost is all there is")
        with s3_bucket() if found.stored else nullcontext() as bucket:
            for figures in run(found.config, found.overrides, found.count, found.kinds, found.seed, bucket):
                FOLDER.mkdir(parents=True, exist_ok=True)
                write_json(FOLDER / NAMES[found.stored], {**provenance(this_command()), **figures})
    print(collect())


def run(
    config: Path,
    overrides: Sequence[str],
    count: int,
    kinds: Sequence[str],
    seed: int,
    bucket: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Let ``count`` faults happen, to runs in ``bucket`` where one is given.

    Yields one entry per fault and one per run, of all that ended so far, each time a run has ended.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="hardcase-faults-") as place:
        whole = Disturbed(config, overrides, Path(place) / "whole")
        start = time.perf_counter()
        whole.finish()
        expected, steps = whole.results(), whole.steps()
        print(f"undisturbed: {steps} steps, {time.perf_counter() - start:.0f} s", flush=True)
        faults: list[dict[str, Any]] = []
        runs: list[dict[str, Any]] = []
        while len(faults) < count:
            home = Path(place) / f"run{len(runs)}"
            one = (
                Disturbed(config, overrides, home)
                if bucket is None
                else Stored(config, overrides, home, bucket)
            )
            met: list[dict[str, Any]] = []
            while len(faults) + len(met) < count:
                (kind,) = draw.choices(list(kinds), [SELDOM.get(kind, 1.0) for kind in kinds])
                fault = one.meet(kind, draw, steps)
                if fault is None:
                    break
                met.append(fault)
            one.finish()
            right = one.results() == expected
            runs.append({"faults": len(met), "right": right})
            faults += [{**fault, "run": len(runs) - 1, "repeated": one.repeated(fault)} for fault in met]
            print(f"run {len(runs)}: {len(met)} faults, {'right' if right else 'WRONG'}", flush=True)
            if right:
                one.remove()
            yield {"seed": seed, "steps": steps, "faults": list(faults), "runs": list(runs)}


def collect() -> Path:
    """Write README.md of what is kept."""
    lines = ["# A run that is disturbed ends as one that is not", ""]
    for stored, name in NAMES.items():
        if (FOLDER / name).exists():
            lines += ["## Runs in an object store" if stored else "## Runs in a folder", ""]
            lines += section(read_result(FOLDER / name), stored)
    return write_text(FOLDER / "README.md", "\n".join(lines))


def section(kept: Mapping[str, Any], stored: bool) -> list[str]:
    """Return what README.md says of one result."""
    faults, runs = kept["faults"], kept["runs"]
    wrong = sum(not run["right"] for run in runs)
    stages = sorted({fault["stage"] for fault in faults})
    kinds = [kind for kind in KINDS if any(fault["kind"] == kind for fault in faults)]
    where = (
        "The bucket has the files of the run and every finished stage; checkpoints stay on the machine, so where its disk "
        "is lost the stage in flight begins again."
        if stored
        else "A training goes on from its last checkpoint (every 3 or 4 steps), unless the bit that was turned is in it."
    )
    return [
        f"{len(faults)} faults at random steps of {len(runs)} runs ({kept['steps']} steps each), in {len(stages)} kinds of "
        f"stage. Runs whose report or files differ from the undisturbed local run's: **{wrong}**.",
        "",
        "| fault | tried | steps made again: median, most |",
        "|---|---|---|",
        *(_row(f"`{kind}`: {KINDS[kind]}", [f for f in faults if f["kind"] == kind]) for kind in kinds),
        "",
        f"Steps are optimizer steps, chunks of images or samplers' batches. {where} A map keeps its results every 20 "
        "seconds and when it is stopped; those here are shorter, so a killed one begins again.",
        "",
        "| stage in flight | faults | steps made again: median, most |",
        "|---|---|---|",
        *(_row(f"`{stage}`", [f for f in faults if f["stage"] == stage]) for stage in stages),
        "",
        f"`{kept['command']}`, {kept['date']}, {kept['commit']}, {kept['machine']}, seed {kept['seed']}.",
        "",
    ]


def _row(name: str, faults: Sequence[Mapping[str, Any]]) -> str:
    again = [fault["repeated"] for fault in faults if fault["repeated"] is not None]
    said = f"{np.median(again):.0f}, {max(again)}" if again else "nothing was in flight"
    return f"| {name} | {len(faults)} | {said} |"


if __name__ == "__main__":
    script(main)
