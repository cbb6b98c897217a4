"""Whether a run that is killed, stopped or damaged again and again ends as one that was left alone, and what it repeats.

usage: python -m experiments.faults run CONFIG [--count 100] [--kinds kill stop flip] [--seed 0] [--with key=value ...]
       python -m experiments.faults collect

``run`` plays the config once undisturbed. Then it plays it again, each time up to a step drawn at random from those to come,
where something happens: ``kill`` (kill -9), ``stop`` (SIGTERM), or ``flip`` (kill -9, then one bit of one file of a finished
stage or a checkpoint is turned). The same command goes on, and is met again, until it ends; then a new run begins, until
``--count`` faults have happened. A run is right where report.json, apart from seconds, and every file of every stage equal
those of the undisturbed one. ``collect`` writes README.md.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.artifacts.whole_files import write_text
from engine.store import RunFolder
from engine.store.files import checksums, write_json
from experiments.lib.faulted_run import begin, read_marks, send
from experiments.lib.keeping import RESULTS, provenance, read_result, script, this_command, this_script
from experiments.lib.untimed import untimed

FOLDER = RESULTS / "faults"
KINDS: Final[Mapping[str, str]] = {
    "kill": "the process is killed (kill -9)",
    "stop": "SIGTERM; the exit code is 143",
    "flip": "kill -9, then one bit of a file of a finished stage or a checkpoint is turned",
}


def main() -> None:
    """Run or collect."""
    parser = argparse.ArgumentParser(
        prog=this_script(), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    running = actions.add_parser("run")
    running.add_argument("config", type=Path)
    running.add_argument("--count", type=int, default=100)
    running.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=list(KINDS))
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--with", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    actions.add_parser("collect")
    found = parser.parse_args()
    if found.action == "run":
        figures = run(found.config, found.overrides, found.count, found.kinds, found.seed)
        FOLDER.mkdir(parents=True, exist_ok=True)
        write_json(FOLDER / "result.json", {**provenance(this_command()), **figures})
    print(collect())


def run(
    config: Path, overrides: Sequence[str], count: int, kinds: Sequence[str], seed: int
) -> dict[str, Any]:
    """Let ``count`` faults happen; returns one entry per fault and one per run."""
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
            one = Disturbed(config, overrides, Path(place) / f"run{len(runs)}")
            met: list[dict[str, Any]] = []
            while len(faults) + len(met) < count:
                fault = one.meet(draw.choice(list(kinds)), draw, steps)
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
    return {"seed": seed, "steps": steps, "faults": faults, "runs": runs}


class Disturbed:
    """One run that is met by faults."""

    def __init__(self, config: Path, overrides: Sequence[str], place: Path) -> None:
        self.config = config
        self.place = place
        self.overrides = [*overrides, f"output={place / 'runs'}"]
        self.notes = place / "marks.jsonl"
        place.mkdir()

    def marks(self) -> list[dict[str, Any]]:
        """Every step that any process of the run has noted."""
        return read_marks(self.notes)

    def steps(self) -> int:
        """How many steps were made, each counted once; what the cache had is none."""
        made = [mark for mark in self.marks() if not mark.get("cached")]
        return len({(mark["key"], mark.get("what"), mark.get("done"), mark.get("finished")) for mark in made})

    def meet(self, kind: str, draw: random.Random, steps: int) -> dict[str, Any] | None:
        """Go on to a step drawn from those to come and let the fault happen; None where the run ended before it."""
        due = self.steps() + draw.randint(1, max(1, steps - self.steps()))
        process = begin(self.config, self.overrides, self.notes)
        while self.steps() < due:
            process.join(0.002)
            if process.exitcode is not None:
                self._check(process.exitcode)
                return None
        code = send(process, signal.SIGTERM if kind == "stop" else signal.SIGKILL)
        if code == 0:
            return None
        marks = self.marks()
        fault = {"kind": kind, "exit": code, "at": len(marks), **_last(marks)}
        return {**fault, "flipped": self._flip(draw)} if kind == "flip" else fault

    def finish(self) -> None:
        """Go on to the end."""
        process = begin(self.config, self.overrides, self.notes)
        process.join()
        self._check(process.exitcode)

    def results(self) -> tuple[Any, dict[str, dict[str, str]]]:
        """The report without seconds, and the checksums of what every stage wrote."""
        (run,) = {path.parent for path in (self.place / "runs").glob("*/report.json")}
        report = untimed(json.loads((run / "report.json").read_text(encoding="utf-8")))
        folder = RunFolder.open(run)
        files = {role: checksums(folder.stage(role).path) for role in folder.roles}
        return report, {
            role: {n: d for n, d in found.items() if n != "stage.json"} for role, found in files.items()
        }

    def repeated(self, fault: Mapping[str, Any]) -> int | None:
        """How many steps of the piece of work in flight were made again; None where none was in flight."""
        if fault["what"] is None:
            return None
        for mark in self.marks()[fault["at"] :]:
            if (mark["key"], mark.get("what")) == (fault["key"], fault["what"]):
                return max(0, int(fault["done"]) - int(mark["done"]) + 1)
        return 0

    def remove(self) -> None:
        """Remove what a run that ended right has written."""
        shutil.rmtree(self.place)

    def _flip(self, draw: random.Random) -> str | None:
        """Turn one bit of one file; returns which, None where there is none yet."""
        stages = self.place / "runs" / "stages"
        files = sorted(
            path
            for path in stages.rglob("*")
            if path.is_file()
            and path.stat().st_size
            and ".locks" not in path.parts
            and path.name != "hardcase.json"
        )
        if not files:
            return None
        path = draw.choice(files)
        content = bytearray(path.read_bytes())
        position = draw.randrange(len(content))
        content[position] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        return path.relative_to(stages).as_posix()

    def _check(self, code: int | None) -> None:
        if code != 0:
            said = self.notes.with_suffix(".txt").read_text(encoding="utf-8")[-2000:]
            raise RuntimeError(f"{self.place}: ended with {code}: {said}")


def _last(marks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The stage in flight and how far its piece of work was; ``what`` is None between two."""
    last = marks[-1]
    names = {mark["key"]: mark["stage"] for mark in marks if "stage" in mark}
    inside = "what" in last and not last.get("finished")
    return {
        "stage": names[last["key"]],
        "key": last["key"],
        "what": last["what"] if inside else None,
        "done": last["done"] if inside else None,
    }


def collect() -> Path:
    """Write README.md of what is kept."""
    kept = read_result(FOLDER / "result.json")
    faults, runs = kept["faults"], kept["runs"]
    wrong = sum(not run["right"] for run in runs)
    stages = sorted({fault["stage"] for fault in faults})
    lines = [
        "# A run that is disturbed ends as one that is not",
        "",
        f"{len(faults)} faults at random steps of {len(runs)} runs ({kept['steps']} steps each), in {len(stages)} kinds of "
        f"stage. Runs whose report or files differ from the undisturbed run's: **{wrong}**.",
        "",
        "| fault | tried | steps made again: median, most |",
        "|---|---|---|",
        *(_row(f"`{kind}`: {KINDS[kind]}", [f for f in faults if f["kind"] == kind]) for kind in KINDS),
        "",
        "Steps are optimizer steps, chunks of images or samplers' batches. A training goes on from its last checkpoint",
        "(every 3 or 4 steps here), unless the bit that was turned is in it. A map keeps its results every 20 seconds and",
        "when it is stopped; those here are shorter, so a killed one begins again.",
        "",
        "| stage in flight | faults | steps made again: median, most |",
        "|---|---|---|",
        *(_row(f"`{stage}`", [f for f in faults if f["stage"] == stage]) for stage in stages),
        "",
        f"`{kept['command']}`, {kept['date']}, {kept['commit']}, {kept['machine']}, seed {kept['seed']}.",
    ]
    return write_text(FOLDER / "README.md", "\n".join(lines) + "\n")


def _row(name: str, faults: Sequence[Mapping[str, Any]]) -> str:
    again = [fault["repeated"] for fault in faults if fault["repeated"] is not None]
    said = f"{np.median(again):.0f}, {max(again)}" if again else "nothing was in flight"
    return f"| {name} | {len(faults)} | {said} |"


if __name__ == "__main__":
    script(main)
