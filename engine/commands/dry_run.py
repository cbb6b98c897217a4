"""`hardcase run --dry-run`: the plan with sizes and memory, a short timed pilot of every part, and the hours that makes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine import build
from engine.arms import ARMS, ENGINE
from engine.artifacts import decoded_images, split
from engine.artifacts.run_layout import CACHE
from engine.commands.labelling_text import counted
from engine.commands.planned_memory import MemoryPlan
from engine.commands.planned_work import Work, plan_work
from engine.config import BackendConfig, Config, DistillConfig
from engine.config.places import is_url
from engine.data.fingerprint import fingerprint
from engine.errors import HardcaseError
from engine.execution.peak_memory import PeakMemory
from engine.execution.progress import QuietListener, RichListener
from engine.pipeline import Pipeline
from engine.pipeline.foundation import lay_data
from engine.pipeline.pipeline import NoRoles
from engine.stages.base import CHUNK, Sizes
from engine.store import Listener, StageFolder
from engine.store.files import check_output
from engine.store.local_copy import local_output
from engine.types import SPLITS

PILOT_STEPS = 6
PILOT_BUDGET = CHUNK
PILOT_IMAGES = 700
SPREAD = 1.5
"""By which factor a run may take longer or shorter than the pilot's few steps say: other load, warm caches, disks."""
GPU_COUNTS = (1, 4, 8)


@dataclass
class PilotListener:
    """Measures what one unit (a step, a chunk) of each stage costs, start-up left out, and the most memory it holds.

    It shows the stages as they run.
    """

    rates: dict[str, float] = field(default_factory=dict)
    overhead: dict[str, float] = field(default_factory=dict)
    marks: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    began: float = 0.0
    shown: Listener = field(default_factory=QuietListener)
    memory: PeakMemory = field(default_factory=lambda: PeakMemory("cpu"))
    peaks: dict[str, int] = field(default_factory=dict)

    def stage_started(self, name: str, key: str) -> None:
        """Begin to measure a stage; the pilot's stages run one after the other."""
        self.shown.stage_started(name, key)
        self.marks = {}
        self.memory.begin()
        self.began = time.perf_counter()

    def progress(self, key: str, what: str, done: int, total: int) -> None:
        """Keep every mark, apart for each piece of work (a training and the map after it go at other speeds)."""
        self.marks.setdefault(what, []).append((time.perf_counter(), done))
        self.shown.progress(key, what, done, total)

    def stage_finished(self, folder: StageFolder) -> None:
        """Turn the marks of the longest piece of work into seconds per unit; the rest counts as start-up."""
        self.shown.stage_finished(folder)
        if folder.cached:
            return
        self.peaks[folder.name] = max(self.memory.end(), self.peaks.get(folder.name, 0))
        longest = max(self.marks.values(), key=lambda marks: marks[-1][0] - marks[0][0], default=[])
        if len(longest) == 1:  # too short for two marks: its start-up counts as work
            longest = [(self.began, 0), *longest]
        units = longest[-1][1] - longest[0][1] if longest else 0
        unit = (longest[-1][0] - longest[0][0]) / units if units > 0 else 0.0
        spent = unit * longest[-1][1] if longest else 0.0
        self.rates[folder.name] = max(unit, self.rates.get(folder.name, 0.0))
        rest = max(0.0, folder.seconds - spent)
        self.overhead[folder.name] = min(rest, self.overhead.get(folder.name, rest))


def dry_run(config: Config, console: Console) -> None:
    """Print the plan of ``config`` and how long it would take; leaves nothing behind but decoded images.

    Raises:
        ConfigError: a stage is planned to hold more memory than there is.
        ConfigError, DataError: the config or the data is bad, as `run` would say.
    """
    build.check_models(config)
    check_output(config.output)
    here = config.model_copy(update={"backend": _here(config)})
    device = build.choose_device(here.backend)
    with tempfile.TemporaryDirectory(prefix="hardcase-plan-") as place:
        data = _read_data(config, Path(place))
        sizes = _sizes(config, data)
        work = plan_work(config, sizes, data)
        console.print(_sizes_line(config, data))
        memory = MemoryPlan.of(config, here, device, {name: f.path for name, f in data.items()}, work)
    memory.require_room()
    for line in memory.lines():
        console.print(line)
    listener = PilotListener(memory=PeakMemory(device))
    _pilot(config, sizes, listener, console)
    total = _print_times(work, listener, memory, console)
    shared = ", ".join(f"{n}: {hours_range(total / n)}" for n in GPU_COUNTS if n > 1)
    console.print(
        f"{hours_range(total)} on this device, from a pilot of a few steps; ideal split over workers as fast as it: {shared}"
    )
    if config.backend.kind == "ray":
        trainings = (
            "; each training some 15 s more (train_workers)" if config.backend.most_train_workers else ""
        )
        console.print(f"measured in this process; Ray adds its start-up, about 20 s{trainings}", style="dim")


def hours_range(seconds: float) -> str:
    """Return what a pilot can say about a run: a range from a factor of SPREAD below to one above, to two digits."""
    low, high = seconds / SPREAD, seconds * SPREAD
    if high < 90.0:
        return "less than 2 minutes"
    if high < 5400.0:
        return f"{two_digits(max(1.0, low / 60))} to {two_digits(high / 60)} minutes"
    return f"{two_digits(low / 3600)} to {two_digits(high / 3600)} h"


def two_digits(value: float) -> str:
    """Return a positive number rounded to two digits: 0.52, 5.2, 52, 520."""
    return f"{float(f'{value:.1e}'):g}"


def _print_times(
    work: Mapping[str, Work], listener: PilotListener, memory: MemoryPlan, console: Console
) -> float:
    """Print one row per stage; return the seconds of all."""
    table = Table(
        title="What it takes here",
        caption="steps, chunks or images x measured seconds + start-up; GiB: the most that "
        f"{_whose(listener.memory)} is planned to hold (blank: little, or not known), and held in the pilot, at the "
        "run's batch sizes",
    )
    for column in ("stage", "runs", "units", "s/unit", "minutes", "GiB planned", "GiB measured"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    total = 0.0
    for stage, planned in work.items():
        rate, extra = listener.rates.get(stage, 0.0), listener.overhead.get(stage, 0.0)
        seconds = planned.runs * extra + planned.units * rate
        total += seconds
        held = f"{listener.peaks[stage] / 2**30:.1f}" if listener.peaks.get(stage) else ""
        times = (f"{rate:.3f}", f"{seconds / 60:.1f}")
        table.add_row(stage, str(planned.runs), str(planned.units), *times, memory.text(stage), held)
    console.print(table)
    return total


def _whose(memory: PeakMemory) -> str:
    return "the GPU" if memory.device.startswith("cuda") else "a process"


def _parts(data: Mapping[str, StageFolder]) -> dict[str, int]:
    """Images per part of the split; parts without images are 0."""
    counts = split.read_facts(data["split"].path).counts
    return {part: sum(counts.get(part, {}).values()) for part in SPLITS}


def _sizes(config: Config, data: Mapping[str, StageFolder]) -> Sizes:
    parts = _parts(data)
    return Sizes(
        images=decoded_images.read(data["images"].path).n_images,
        used=sum(parts.values()),
        train=parts["train"],
        held=parts["val"] + parts["test"],
        samples=config.loop.made_per_round,
    )


def _sizes_line(config: Config, data: Mapping[str, StageFolder]) -> str:
    info, parts = decoded_images.read(data["images"].path), _parts(data)
    unlabelled = f" ({info.unlabelled} without a diagnosis)" if info.unlabelled else ""
    return (
        f"{info.n_images} images{unlabelled} of {info.n_lesions} lesions at {config.data.image_size} px; "
        + ", ".join(f"{part} {count}" for part, count in parts.items())
        + f"; {counted(config.loop.rounds, 'round')}, arms {', '.join(config.loop.arms)}"
        + f", {config.loop.made_per_round} samples per round"
    )


def _read_data(config: Config, place: Path) -> dict[str, StageFolder]:
    """Decode and split. Where the output folder exists both stay in its cache, else they go with ``place``."""
    output = local_output(config)
    root = output if output.exists() and not is_url(config.output) else place
    here = config.model_copy(update={"backend": _here(config)})
    device = build.choose_device(here.backend)
    runner = build.make_runner(here, root / CACHE, build.make_backend(here.backend), device, QuietListener())
    pipeline = Pipeline(here, runner, NoRoles(), fingerprint(here.data, runner.cache.root))
    lay_data(pipeline)
    return pipeline.stages


def _here(config: Config) -> BackendConfig:
    device = config.backend.device if config.backend.kind == "local" else "auto"
    return config.backend.model_copy(
        update={"kind": "local", "address": None, "train_workers": 0, "map_workers": 0, "device": device}
    )


def _few(distill: DistillConfig | None) -> DistillConfig | None:
    return None if distill is None else distill.model_copy(update={"train_steps": PILOT_STEPS})


def _pilot(config: Config, sizes: Sizes, listener: PilotListener, console: Console) -> None:
    """Run the whole loop for a few steps on a small share of the data, in a folder that goes away."""
    few = {"steps": PILOT_STEPS, "checkpoint_every": 10_000}
    arms = [arm for arm in config.loop.arms if arm == ENGINE or ARMS[arm].generator]
    with tempfile.TemporaryDirectory(prefix="hardcase-pilot-") as place:
        small = config.model_copy(
            update={
                "name": "pilot",
                "output": place,
                "backend": _here(config),
                "data": config.data.model_copy(
                    update={
                        "limit": min(sizes.images, PILOT_IMAGES),
                        "split": config.data.split.model_copy(update={"train_sets": None}),
                    }
                ),
                "embedder": config.embedder.model_copy(update=few),
                "vae": config.vae.model_copy(update=few),
                "denoiser": config.denoiser.model_copy(
                    update=few | {"distill": _few(config.denoiser.distill)}
                ),
                "gan": config.gan.model_copy(update=few),
                "judge": config.judge.model_copy(update=few),
                "classifier": config.classifier.model_copy(update={**few, "round_steps": PILOT_STEPS}),
                "evaluation": config.evaluation.model_copy(
                    update={"likelihood": min(config.evaluation.likelihood, CHUNK)}
                ),
                "loop": config.loop.model_copy(
                    update={"rounds": 1, "arms": arms, "budget": PILOT_BUDGET, "compare": "every_round"}
                ),
            }
        )
        console.print(
            f"timing a pilot of every stage: {PILOT_STEPS} steps each, on {small.data.limit} images; minutes on a CPU, "
            "most of them start-up. Each stage is listed when it is done",
            style="dim",
        )
        listener.shown = RichListener(console)
        try:
            build.wire(small, listener=listener, track=False).loop().play()
        except HardcaseError as error:
            console.print(f"the pilot on {small.data.limit} images stopped early: {error}", style="yellow")
