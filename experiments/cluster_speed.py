"""What Ray costs, what stages side by side save, and how many workers one driver keeps busy.

usage: python -m experiments.cluster_speed overhead CONFIG [--repeats 2] [--with key=value ...]
       python -m experiments.cluster_speed beside CONFIG [--repeats 2] [--with key=value ...]
       python -m experiments.cluster_speed simulated [--workers 1 2 4 ...] [--seconds 10]
       python -m experiments.cluster_speed gathered [--sides 64 128 256] [--megabytes 1500]
       python -m experiments.cluster_speed collect

``overhead`` plays a config on the local backend and on Ray on this machine, one stage after the other, in turn. ``beside``
plays it on two nodes of one core each, one stage after the other and side by side, in turn, and compares the reports.
``simulated`` lets stages that only sleep go through the real driver, cache and scheduler, on nodes that have as many CPUs as
they say. ``gathered`` lets two actors that compute nothing send images to the process that gathers a round, which writes
them as ``synthesize`` does, and times one process that writes PNG files. ``collect`` writes README.md of what is kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine import build
from engine.artifacts import run_stages, synthesized
from engine.artifacts.whole_files import write_text
from engine.config import BackendConfig
from engine.diffusion.synthesis import Synthesized, save_png
from engine.errors import ConfigError
from engine.execution.backend import StageCall
from engine.execution.progress import QuietListener
from engine.execution.ray_backend import RayBackend
from engine.execution.ray_stage import StageWork
from engine.parts.kept_map import KeptMap
from engine.stages import base
from engine.store import StageCache, StageRunner
from engine.store.files import write_json
from engine.store.side_by_side import SideBySide
from engine.types import IntArray
from experiments.lib.keeping import RESULTS, provenance, read_result, script, this_command, this_script
from experiments.lib.untimed import untimed

FOLDER = RESULTS / "cluster_speed"
OVERHEAD_SECONDS, OVERHEAD_SHARE = 25.0, 0.05
"""The targets: fixed cost of Ray beside the local backend, and the rest of it as a share of the time in stages."""
FASTER, EFFICIENT = 1.6, 0.9
"""The targets: side by side on two nodes of one core, and simulated workers kept busy."""
STAGES_PER_WORKER = 4
SENT, PICTURES = 32, 500
"""Images per chunk that actors send, and how many are written as PNG files."""


def main() -> None:
    """Measure one thing, or collect."""
    parser = argparse.ArgumentParser(
        prog=this_script(), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("overhead", "beside"):
        one = actions.add_parser(name)
        one.add_argument("config", type=Path)
        one.add_argument("--repeats", type=int, default=2)
        one.add_argument("--with", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    simulating = actions.add_parser("simulated")
    simulating.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    simulating.add_argument("--seconds", type=float, default=10.0)
    gathering = actions.add_parser("gathered")
    gathering.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256])
    gathering.add_argument("--megabytes", type=int, default=1500)
    actions.add_parser("collect")
    found = parser.parse_args()
    if found.action == "simulated":
        keep(
            "simulated",
            {"rows": [simulated(n, found.seconds) for n in found.workers], "seconds": found.seconds},
        )
    elif found.action == "gathered":
        keep("gathered", {"rows": [gathered(side, found.megabytes) for side in found.sides]})
    elif found.action == "overhead":
        keep("overhead", overhead(found.config, found.overrides, found.repeats))
    elif found.action == "beside":
        keep("beside", beside(found.config, found.overrides, found.repeats))
    print(collect())


def keep(name: str, figures: Mapping[str, Any]) -> None:
    """Write ``<name>.json`` beside the page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / f"{name}.json", {**provenance(this_command()), **figures})


def overhead(config: Path, overrides: Sequence[str], repeats: int) -> dict[str, Any]:
    """Play the config locally and on Ray on this machine, in turn."""
    ways = {"local": ["backend.kind=local"], "ray": ["backend.kind=ray", "backend.stages_at_once=1"]}
    return {"config": config.name, "plays": _in_turn(config, overrides, ways, repeats)}


def beside(config: Path, overrides: Sequence[str], repeats: int) -> dict[str, Any]:
    """Play the config on two nodes of one core each, one stage after the other and side by side, in turn."""
    with cluster(1, 1) as address:
        ray = ["backend.kind=ray", f"backend.address={address}", "backend.threads=1"]
        ways = {"one": [*ray, "backend.stages_at_once=1"], "beside": ray}
        return {"config": config.name, "plays": _in_turn(config, overrides, ways, repeats)}


def _in_turn(
    config: Path, overrides: Sequence[str], ways: Mapping[str, Sequence[str]], repeats: int
) -> list[dict[str, Any]]:
    """Play every way ``repeats`` times; returns one entry per play.

    Raises:
        ConfigError: two plays differ in a figure.
    """
    found: list[dict[str, Any]] = []
    reports: list[Any] = []
    for turn in range(repeats):
        for way in list(ways) if turn % 2 == 0 else list(reversed(ways)):
            with tempfile.TemporaryDirectory(prefix="hardcase-speed-") as place:
                loaded = build.load(config, [*overrides, *ways[way], f"output={place}", "tracking.kind=none"])
                start = time.perf_counter()
                folder, report = build.run(loaded)
                seconds = time.perf_counter() - start
                ran = [line for line in run_stages.read_log(folder.path) if line.ran]
            by_stage: Counter[str] = Counter()
            for line in ran:
                by_stage[line.stage] += line.seconds
            inside = {"in_stages": by_stage.total(), "stages": len(ran), "by_stage": dict(by_stage)}
            found.append({"way": way, "seconds": seconds, **inside})
            reports.append(untimed(report))
            print(found[-1], flush=True)
    if any(report != reports[0] for report in reports):
        raise ConfigError(
            f"{config}: the plays differ in a figure of report.json, so their seconds say nothing"
        )
    return found


@contextmanager
def cluster(*cpus: int) -> Iterator[str]:
    """Start nodes with so many CPUs each on this machine; yields the head's address."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus[0], "include_dashboard": False})
    for count in cpus[1:]:
        found.add_node(num_cpus=count)
    found.wait_for_nodes()
    try:
        yield found.address
    finally:
        import ray

        ray.shutdown()
        found.shutdown()


class Params(base.Params):
    """Which of the sleeping stages."""

    number: int


SLEEPING = base.Stage(name="index", params=Params, run=lambda _context, _params: None, files=())
"""A stage that neither trains nor maps, by whose name the driver knows that its task holds a CPU itself."""


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


class SleepingBackend(RayBackend):
    """Ray's backend whose tasks only sleep."""

    def __init__(self, config: BackendConfig, seconds: float) -> None:
        super().__init__(config)
        self.seconds = seconds

    def submit(self, call: Any, work: Any) -> Any:
        """Begin a task that holds what the stage would, and sleeps."""
        import ray

        return ray.remote(_sleep).options(**work.stage_resources).remote(self.seconds)


def simulated(workers: int, seconds: float) -> dict[str, Any]:
    """Return how busy so many workers were, from the first task to the last; their processes were there before."""
    import ray

    with cluster(workers) as address, tempfile.TemporaryDirectory(prefix="hardcase-speed-") as place:
        backend = SleepingBackend(BackendConfig(kind="ray", address=address, threads=1), seconds)
        ray.get([ray.remote(_sleep).options(num_cpus=1).remote(5.0) for _ in range(workers)])
        cache = StageCache(Path(place))
        alone = StageRunner(cache, backend, 1, "cpu", "float32", QuietListener(), slot=backend.slot)
        runner = SideBySide(alone)
        start = time.perf_counter()
        folders = [runner(SLEEPING, Params(number=n)) for n in range(STAGES_PER_WORKER * workers)]
        slept = sum(folder.seconds for folder in folders)
        wall = time.perf_counter() - start
        runner.close()
        backend.close()
    row = {"workers": workers, "stages": len(folders), "wall": wall, "in_stages": slept,
           "efficiency": STAGES_PER_WORKER * seconds / wall}  # fmt: skip
    print(row, flush=True)
    return row


@dataclass(frozen=True)
class Painter:
    """Stands for a generator that takes no time: sends the same noise for every chunk."""

    side: int

    def load(self) -> Callable[[IntArray], Synthesized]:
        """Return the function from rows to images."""
        shape = (SENT, self.side, self.side, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        return lambda rows: Synthesized(images_BHWC=noise[: len(rows)], evaluations=1)


def gathered(side: int, megabytes: int) -> dict[str, Any]:
    """Return how many images a second one process gathers from two actors and writes, and writes as PNG files."""
    count = SENT * max(4, megabytes * 1_000_000 // (SENT * side * side * 3))
    chunks = [np.arange(first, first + SENT) for first in range(0, count, SENT)]
    with cluster(3) as address, tempfile.TemporaryDirectory(prefix="hardcase-speed-") as place:
        import ray

        ray.init(address=address, log_to_driver=False)
        out, kept = Path(place) / "out", Path(place) / "checkpoint"
        out.mkdir()
        call = StageCall(
            stage="synthesize", out=out, inputs={}, params={}, seed=0, threads=1, device="cpu",
            precision="float32", checkpoint=kept,
        )  # fmt: skip
        config = BackendConfig(kind="ray", map_workers=2, threads=1)
        work = StageWork(config=config, call=call, cpus_per_task=1, note=lambda *_: None)
        results = KeptMap(work.map, kept)(Painter(side), chunks, "gathered")
        images = synthesized.allocate((count, side, side, 3), out)
        images[chunks[0]] = next(results).images_BHWC  # actors and Ray Data have begun
        start = time.perf_counter()
        for rows, made in zip(chunks[1:], results, strict=True):
            images[rows] = made.images_BHWC
        del images
        seconds = time.perf_counter() - start
        some = synthesized.open_images(out)[:PICTURES]
        begun = time.perf_counter()
        for number, image in enumerate(some):
            save_png(image, out / f"{number}.png")
        writing = time.perf_counter() - begun
    row = {"side": side, "images": count, "per_second": (count - SENT) / seconds,
           "megabytes_per_second": (count - SENT) * side * side * 3 / seconds / 1e6,
           "png_per_second": len(some) / writing}  # fmt: skip
    print(row, flush=True)
    return row


def collect() -> Path:
    """Write README.md of what is kept."""
    lines = ["# What Ray costs, and what it saves", ""]
    parts: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
        "overhead": _overhead, "beside": _beside, "simulated": _simulated, "gathered": _gathered,
    }  # fmt: skip
    for name, text in parts.items():
        path = FOLDER / f"{name}.json"
        if path.exists():
            kept = read_result(path)
            lines += [
                *text(kept),
                "",
                f"`{kept['command']}`, {kept['date']}, {kept['commit']}, {kept['machine']}.",
                "",
            ]
    return write_text(FOLDER / "README.md", "\n".join(lines))


def _seconds(kept: Mapping[str, Any], way: str, what: str = "seconds") -> np.ndarray:
    return np.array([play[what] for play in kept["plays"] if play["way"] == way])


def _spread(values: np.ndarray) -> str:
    return f"{np.median(values):.1f} s ({values.min():.1f} to {values.max():.1f})"


def _overhead(kept: Mapping[str, Any]) -> list[str]:
    local, ray = _seconds(kept, "local"), _seconds(kept, "ray")
    inside = _seconds(kept, "local", "in_stages")
    more = float(np.median(ray) - np.median(local))
    beyond = max(0.0, more - OVERHEAD_SECONDS) / float(np.median(inside))
    met = "met" if beyond < OVERHEAD_SHARE else "missed"
    return [
        "## Ray beside the local backend, on one machine",
        "",
        f"{kept['config']}, one stage after the other, {len(local)} plays each in turn: local {_spread(local)}, Ray "
        f"{_spread(ray)}; {more:+.1f} s, of which {OVERHEAD_SECONDS:.0f} s may be fixed. The rest is {100 * beyond:.1f} % "
        f"of the {np.median(inside):.0f} s in stages (target: under {100 * OVERHEAD_SHARE:.0f} %): {met}. All figures "
        "are equal.",
        *_slower_stages(kept),
    ]


def _slower_stages(kept: Mapping[str, Any]) -> list[str]:
    """Where Ray took longer: the stages in which most of the difference lies."""
    plays = [play for play in kept["plays"] if "by_stage" in play]
    if not plays:
        return []
    median = {
        way: {
            stage: float(np.median([p["by_stage"][stage] for p in plays if p["way"] == way]))
            for stage in one["by_stage"]
        }
        for way, one in ((play["way"], play) for play in plays)
    }
    more = {stage: median["ray"][stage] - local for stage, local in median["local"].items()}
    largest = sorted(more, key=lambda stage: -more[stage])[:5]
    told = ", ".join(
        f"`{stage}` {more[stage]:+.1f} s ({median['local'][stage]:.1f} on the local backend)"
        for stage in largest
    )
    return ["", f"Where most of it lies: {told}."]


def _beside(kept: Mapping[str, Any]) -> list[str]:
    one, beside = _seconds(kept, "one"), _seconds(kept, "beside")
    ratio = float(np.median(one) / np.median(beside))
    met = "met" if ratio >= FASTER else "missed"
    return [
        "## Side by side on two nodes of one core each",
        "",
        f"{kept['config']}, {len(one)} plays each in turn: one after the other {_spread(one)}, side by side "
        f"{_spread(beside)}: {ratio:.2f} times as fast (target {FASTER}): {met}. All figures of the reports are equal.",
    ]


def _simulated(kept: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {row['workers']} | {row['stages']} | {row['wall']:.1f} s | {100 * row['efficiency']:.0f} % |"
        for row in kept["rows"]
    ]
    least = min(row["efficiency"] for row in kept["rows"])
    met = "met" if least >= EFFICIENT else "missed"
    return [
        "## Simulated: stages that sleep",
        "",
        f"Stages of {kept['seconds']:g} s, {STAGES_PER_WORKER} per worker, through the real driver, cache and scheduler. "
        f"Target: {100 * EFFICIENT:.0f} % at every size: {met}.",
        "",
        "| workers | stages | seconds | busy |",
        "|---|---|---|---|",
        *rows,
    ]


def _gathered(kept: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {row['side']} | {row['images']:,} | {row['per_second']:,.0f} | {row['megabytes_per_second']:,.0f} | "
        f"{row['png_per_second']:,.0f} |"
        for row in kept["rows"]
    ]
    return [
        "## A round's images, gathered by one process",
        "",
        "Two actors that compute nothing, on the same two cores as the process that gathers: it receives chunks of "
        f"{SENT} images in order, keeps shards every 20 s, and writes `images.npy`. Beside it one process that writes PNG "
        "files of noise, which compress worst.",
        "",
        "| side | images | gathered per second | MB per second | PNG files per second |",
        "|---|---|---|---|---|",
        *rows,
    ]


if __name__ == "__main__":
    script(main)
