"""`hardcase run --dry-run`: the plan with sizes, a short timed pilot of every part, and the hours that makes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine import build
from engine.config import SOURCES, Config
from engine.errors import HardcaseError
from engine.store import StageFolder
from engine.store.files import check_output, read_json

PILOT_STEPS = 6
PILOT_BUDGET = 32
GPU_COUNTS = (1, 4, 8)
CHUNK = 32


@dataclass
class PilotListener:
    """Measures what one unit (a step, a chunk) of each stage costs, start-up left out."""

    rates: dict[str, float] = field(default_factory=dict)
    overhead: dict[str, float] = field(default_factory=dict)
    marks: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    began: float = 0.0

    def stage_started(self, name: str) -> None:
        """Begin to measure a stage."""
        self.marks = {}
        self.began = time.perf_counter()

    def progress(self, what: str, done: int, total: int) -> None:
        """Keep every mark, apart for each piece of work (a training and the map after it go at other speeds)."""
        self.marks.setdefault(what, []).append((time.perf_counter(), done))

    def stage_finished(self, folder: StageFolder) -> None:
        """Turn the marks of the longest piece of work into seconds a unit; the rest counts as start-up."""
        if folder.cached:
            return
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
        ConfigError, DataError: the config or the data is bad, as `run` would say.
    """
    build.check_models(config)
    check_output(config.output)
    counts = _data_counts(config)
    units = plan_units(config, counts)
    console.print(_sizes_line(config, counts))
    listener = PilotListener()
    _pilot(config, counts, listener, console)
    table = Table(
        title="What it takes here", caption="steps or chunks of 32 images x measured seconds + start-up"
    )
    for column in ("stage", "runs", "units", "s/unit", "minutes"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    total = 0.0
    for stage, (runs, number) in units.items():
        rate, extra = listener.rates.get(stage, 0.0), listener.overhead.get(stage, 0.0)
        seconds = runs * extra + number * rate
        total += seconds
        table.add_row(stage, str(runs), str(number), f"{rate:.3f}", f"{seconds / 60:.1f}")
    console.print(table)
    hours = ", ".join(f"{n}: {total / 3600 / n:.2f} h" for n in GPU_COUNTS if n > 1)
    console.print(
        f"about {total / 3600:.2f} h on this device; ideal split over workers as fast as it: {hours}"
    )
    if config.backend.kind == "ray":
        trainings = "; each training some 15 s more (train_workers)" if config.backend.train_workers else ""
        console.print(f"measured in this process; Ray adds its start-up, about 20 s{trainings}", style="dim")


def plan_units(config: Config, counts: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return {stage: (runs, units in all)}: a unit is an optimizer step, a chunk of images, or a decoded image."""
    rounds, arms = config.loop.rounds, config.loop.arms
    beside = [a for a in arms if a != "hard"]
    compared = rounds if config.loop.compare == "every_round" else 1
    fits = rounds + len(beside) * compared
    if config.classifier.round_init == "continue":  # what is trained at the end catches up, a fit a round
        fit_steps = config.classifier.steps + config.classifier.round_steps * rounds * (1 + len(beside))
    else:
        fit_steps = config.classifier.steps * (1 + fits)
    sources = rounds * sum(arm in SOURCES for arm in arms)
    samples, train, used = _chunks(config.loop.budget), _chunks(counts["train"]), _chunks(counts["used"])
    calls = config.synthesis.steps * samples
    crossfit = rounds if config.loop.mine_from == "crossfit" else 0
    diffusion = config.synthesis.generator == "diffusion"
    plan = {
        "images": (1, counts["images"]),
        "embedder": (1, 0 if config.embedder.pretrained else config.embedder.steps),
        "index": (1, train),
        "vae": (int(diffusion), 0 if config.vae.kind == "identity" else config.vae.steps),
        "latents": (int(diffusion), train),
        "denoiser": (int(diffusion), config.denoiser.steps),
        "likelihood": (int(config.evaluation.likelihood > 0), _chunks(config.evaluation.likelihood)),
        "gan": (int("dcgan" in (config.synthesis.generator, *arms)), config.gan.steps),
        "judge": (1, config.judge.steps * config.judge.folds),
        "classifier": (1 + fits, fit_steps),
        "crossfit": (crossfit, crossfit * config.loop.crossfit_folds * config.classifier.steps),
        "predict": (1 + fits, (1 + fits) * used),
        "evaluate": (1 + fits, 0),
        "condition": (sources, sources * samples),
        "synthesize": (sources, sources * samples if calls else 0),
        "accept": (sources, sources * samples),
    }
    return {stage: (runs, number) for stage, (runs, number) in plan.items() if runs}


def _chunks(count: int) -> int:
    return -(-count // CHUNK)


def _sizes_line(config: Config, counts: Mapping[str, int]) -> str:
    return (
        f"{counts['images']} images of {counts['lesions']} lesions at {config.data.image_size} px; "
        f"train {counts['train']}, mine {counts['mine']}, val {counts['val']}, test {counts['test']}; "
        f"{config.loop.rounds} rounds, arms {', '.join(config.loop.arms)}, {config.loop.budget} samples a round"
    )


def _data_counts(config: Config) -> dict[str, int]:
    """Decode and split (both stay in the cache) and count."""
    with tempfile.TemporaryDirectory(prefix="hardcase-plan-") as place:
        output = config.output if Path(config.output).exists() else place
        wiring = build.wire(
            config.model_copy(update={"name": "plan", "output": place, "backend": _here(config)}), track=False
        )
        runner = build.make_runner(
            config, Path(output) / "stages", wiring.backend, wiring.runner.device, wiring.runner.listener
        )
        loop = wiring.loop()
        loop.recipes.runner = runner
        loop.recipes.data()
        info = read_json(loop.recipes.stages["images"].path / "data.json")
        split = read_json(loop.recipes.stages["split"].path / "split.json")
    parts = {part: sum(by_class.values()) for part, by_class in split["counts"].items()}
    return {
        "images": info["n_images"],
        "lesions": info["n_lesions"],
        "used": sum(parts.values()),
        **{part: parts.get(part, 0) for part in ("train", "mine", "val", "test")},
    }


def _here(config: Config) -> Any:
    device = config.backend.device if config.backend.kind == "local" else "auto"
    return config.backend.model_copy(
        update={"kind": "local", "address": None, "train_workers": 0, "map_workers": 0, "device": device}
    )


def _pilot(config: Config, counts: Mapping[str, int], listener: PilotListener, console: Console) -> None:
    """Run the whole loop for a few steps on a small share of the data, in a folder that goes away."""
    few = {"steps": PILOT_STEPS, "checkpoint_every": 10_000}
    arms = [arm for arm in config.loop.arms if arm in ("hard", "dcgan")]
    with tempfile.TemporaryDirectory(prefix="hardcase-pilot-") as place:
        small = config.model_copy(
            update={
                "name": "pilot",
                "output": place,
                "backend": _here(config),
                "data": config.data.model_copy(
                    update={
                        "limit": min(counts["images"], 700),
                        "split": config.data.split.model_copy(update={"train_sets": None}),
                    }
                ),
                "embedder": config.embedder.model_copy(update=few),
                "vae": config.vae.model_copy(update=few),
                "denoiser": config.denoiser.model_copy(update=few),
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
        console.print("timing a pilot of every stage ...", style="dim")
        try:
            build.wire(small, listener=listener, track=False).loop().play()
        except HardcaseError as error:
            console.print(f"the pilot on {small.data.limit} images stopped early: {error}", style="yellow")
