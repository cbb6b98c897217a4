"""Whether a run on a cluster ends as one on this machine alone, also where stage after stage loses its node.

usage: python -m experiments.lost_nodes run CONFIG [--nodes 3] [--with key=value ...]
       python -m experiments.lost_nodes collect

``run`` plays the config three times: in this process, on a cluster of so many nodes on this machine (each a raylet of its
own), and on such a cluster where each stage's first attempt loses the node it runs on in the midst of its work (at its start
or end where it has no steps), and another node comes. All three must give the same report.json, but for seconds and
attempts, and the same files of every stage. ``collect`` writes results/lost_nodes/README.md of every config that was played.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from engine import build
from engine.artifacts import run_stages
from engine.artifacts.whole_files import write_text
from engine.config import BackendConfig
from experiments.lib.keeping import (
    RESULTS,
    provenance,
    read_result,
    run_or_collect,
    save,
    script,
    this_command,
)
from experiments.lib.lost_node import HoldingBackend, Leaving, nodes
from experiments.lib.untimed import results

FOLDER = RESULTS / "lost_nodes"
CPUS = 1


def main() -> None:
    """Run or collect."""
    parser, _, running = run_or_collect(__doc__)
    running.add_argument("--nodes", type=int, default=3)
    found = parser.parse_args()
    if found.action == "run":
        figures = run(found.config, found.overrides, found.nodes)
        save(f"lost_nodes/{found.config.stem}", {**provenance(this_command()), **figures})
    print(collect())


def run(config: Path, overrides: Sequence[str], count: int) -> dict[str, Any]:
    """Play all three; returns seconds, what each stage lost, and whether figures and files are the same."""
    common = [*overrides, "tracking.kind=none", f"backend.threads={CPUS}"]
    on_ray = [*common, "backend.kind=ray"]
    with tempfile.TemporaryDirectory(prefix="hardcase-nodes-") as place:
        alone = play(config, [*common, "backend.kind=local"], Path(place) / "alone")
        with nodes(count, CPUS) as cluster:
            address = f"backend.address={cluster.address}"
            whole = play(config, [*on_ray, address], Path(place) / "whole")
        signs = Path(place) / "signs"
        signs.mkdir()
        with nodes(count, CPUS) as cluster, mock.patch.object(build, "make_backend", holding(signs)):
            leaving = Leaving(cluster, signs, CPUS)
            try:
                address = f"backend.address={cluster.address}"
                lost = play(config, [*on_ray, address], Path(place) / "lost")
            finally:
                leaving.stop()
    return {
        "config": config.name,
        "nodes": count,
        "seconds": {"alone": alone["seconds"], "cluster": whole["seconds"], "losing": lost["seconds"]},
        "same": {
            "cluster": whole["results"] == alone["results"],
            "losing": lost["results"] == alone["results"],
        },
        "stages": lost["stages"],
        "taken": leaving.taken,
        "failed": lost["failed"],
    }


def holding(signs: Path) -> Any:
    """Return what makes the backend whose first attempts hold."""

    def make(config: BackendConfig, profile: Path | None = None) -> HoldingBackend:
        backend = HoldingBackend(config, profile)
        backend.signs = signs
        return backend

    return make


def play(config: Path, overrides: Sequence[str], output: Path) -> dict[str, Any]:
    """Play the config; returns its seconds, its results, which stages were computed, and which attempts failed."""
    start = time.perf_counter()
    folder, report = build.run(build.load(config, [*overrides, f"output={output}"]))
    seconds = time.perf_counter() - start
    ran = [line.stage for line in run_stages.read_log(folder.path) if line.ran]
    causes = [f["cause"] for found in report.get("failed_attempts", {}).values() for f in found]
    print(f"{output.name}: {seconds:.0f} s, {len(ran)} stages, {dict(Counter(causes))}", flush=True)
    return {
        "seconds": round(seconds, 1),
        "results": results(folder.path),
        "stages": dict(Counter(ran)),
        "failed": dict(Counter(causes)),
    }


def collect() -> Path:
    """Write README.md of what is kept."""
    lines = ["# A run whose stages lose their nodes ends as one on one machine"]
    for path in sorted(FOLDER.glob("*/result.json")):
        lines += ["", *_section(read_result(path))]
    return write_text(FOLDER / "README.md", "\n".join(lines) + "\n")


def _section(kept: Mapping[str, Any]) -> list[str]:
    """The lines of one config."""
    met = Counter(one["stage"].rpartition("-")[0] for one in kept["taken"])
    same, seconds = kept["same"], kept["seconds"]
    return [
        f"## {kept['config']}",
        "",
        f"On {kept['nodes']} nodes of {CPUS} CPU. Report and files of all stages equal those of the",
        f"local backend: on it **{_said(same['cluster'])}**, with the losses below **{_said(same['losing'])}**.",
        "",
        f"{len(kept['taken'])} losses: {dict(Counter(one['what'] for one in kept['taken']))}. What the driver counted: "
        f"{kept['failed']}.",
        "",
        "| stage | computed | lost | in the midst of |",
        "|---|---|---|---|",
        *(_row(stage, count, met[stage], kept["taken"]) for stage, count in kept["stages"].items()),
        "",
        f"Seconds, one CPU per node, on two cores in all: alone {seconds['alone']:.0f}, on the cluster "
        f"{seconds['cluster']:.0f}, with losses {seconds['losing']:.0f}.",
        "",
        f"`{kept['command']}`, {kept['date']}, {kept['commit']}, {kept['machine']}.",
    ]


def _said(same: bool) -> str:
    return "yes" if same else "NO"


def _row(stage: str, computed: int, lost: int, taken: Sequence[Mapping[str, Any]]) -> str:
    at = next((one["at"] for one in taken if one["stage"].rpartition("-")[0] == stage), "")
    return f"| `{stage}` | {computed} | {lost} | {at} |"


if __name__ == "__main__":
    script(main)
