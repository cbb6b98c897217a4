"""Measures what three shortcuts of a training step save on a CPU: the same trainings, each shortcut undone in turn.

usage: python -m experiments.train_speed [--turns 5] [--steps 6]

Trains the sizes of part (b) (arms_full_32.yaml: ResNet18 with its published stem, at 32 px and at 64; denoiser; embedder) a
few steps on random images in bf16 with one thread, once with everything and once without each shortcut. Variants take turns,
because machines are noisy, and a step counts its own processor seconds, so that other work on the machine matters less. Then
it times attention alone, fused against plain, by number of tokens; and measures, in float32, how far the losses with and
without all shortcuts come apart.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.artifacts import decoded_images
from engine.build import load
from engine.classifier.inputs import ImageRows
from engine.classifier.train import FitJob, fit, make_plan, starting_model
from engine.config import Config
from engine.data.readers.arrays import DERMAMNIST as CLASSES
from engine.diffusion.denoiser import build_denoiser
from engine.diffusion.pretrained import prepare
from engine.diffusion.schedule import alphas_bar, scheduler_config
from engine.diffusion.train import DenoiserData, DenoiserObjective
from engine.retrieval import train as embedder_train
from engine.training.loop import TrainLog, train
from engine.training.plan import TrainEnv, TrainPlan
from experiments.benchmarks.timing import StepClock
from experiments.lib.keeping import interval, provenance, save, script, this_command

CONFIG = Path(__file__).parent / "configs" / "arms_full_32.yaml"
IMAGES = 256
WARM = 2
"""Steps of each training that are not counted: kernels are chosen and memory is fetched in them."""
AGREE = 12
"""Steps over which losses with and without shortcuts are compared."""
TOKENS = (16, 64, 256, 1024)
PER_STEP = 2048
"""Tokens of all examples together, of attention alone (what a batch of 32 has at the 8x8 level)."""
DRAWS = 2000

Undo = Callable[[], contextlib.AbstractContextManager[Any]]
Training = Callable[[TrainEnv, int, Path], TrainLog]
"""Called as training(env, steps, scratch)."""


def _unfused() -> contextlib.AbstractContextManager[Any]:
    adamw = torch.optim.AdamW
    return mock.patch("torch.optim.AdamW", lambda *given, **named: adamw(*given, **{**named, "fused": False}))


@contextlib.contextmanager
def _fused() -> Iterator[None]:
    never = {"fused_is_slow": lambda _: False}
    with (
        mock.patch.multiple("engine.training.loop", **never),
        mock.patch.multiple("engine.diffusion.attention", **never),
    ):
        yield


SHORTCUTS: dict[str, Undo] = {
    "fused Adam": _unfused,
    "plain attention": _fused,
    "small maps": lambda: mock.patch("engine.classifier.train.shorten_small_maps", lambda _: None),
}
PARTS: dict[str, tuple[str, ...]] = {
    "classifier": ("fused Adam", "small maps"),
    "classifier, 64 px": ("fused Adam", "small maps"),
    "denoiser": ("fused Adam", "plain attention"),
    "embedder": ("fused Adam", "plain attention"),
}
"""The shortcuts that a part uses."""


def main() -> None:
    """Measure every part with and without its shortcuts and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5, help="turns over all variants of a part")
    parser.add_argument("--steps", type=int, default=6, help="counted steps of a variant in a turn")
    chosen = parser.parse_args()
    config = load(CONFIG, ())
    trainings: dict[str, Training] = {
        "classifier": partial(classifier, config, config.data.image_size),
        "classifier, 64 px": partial(classifier, config, 64),
        "denoiser": partial(denoiser, config),
        "embedder": partial(embedder, config),
    }
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    apart: dict[str, float] = {}
    for part, training in trainings.items():
        seconds = measured(training, PARTS[part], chosen.turns, chosen.steps)
        figures[part] = compared(seconds, "all")
        apart[part] = losses_apart(training, PARTS[part])
        _show(part, "all", figures[part])
    for tokens in TOKENS:
        part = f"attention, {tokens} tokens"
        figures[part] = compared(attention(tokens, chosen.turns), "plain")
        _show(part, "plain", figures[part])
    Console().print(f"largest difference of a loss in float32 over {AGREE} steps:", apart)
    save(
        "train_speed",
        {
            "provenance": provenance(this_command()),
            "threads": 1,
            "precision": "bf16",
            "parts": figures,
            "largest_loss_difference_float32": apart,
        },
    )


def measured(
    training: Training, names: tuple[str, ...], turns: int, steps: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the median processor seconds per step of each variant, by turn: with all, without each, without any."""
    variants = {"all": (), **{f"without {name}": (name,) for name in names}, "none": names}
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(turns):
        for variant, undone in variants.items():
            clock = StepClock()
            played(training, undone, TrainEnv(precision="bf16", progress=clock), WARM + steps)
            seconds[variant].append(clock.step(WARM))
    return {variant: np.array(found) for variant, found in seconds.items()}


def played(training: Training, undone: tuple[str, ...], env: TrainEnv, steps: int) -> TrainLog:
    """Train with some shortcuts undone."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as scratch:
        for name in undone:
            stack.enter_context(SHORTCUTS[name]())
        return training(env, steps, Path(scratch))


def losses_apart(training: Training, names: tuple[str, ...]) -> float:
    """Return the largest difference of a step's loss with all shortcuts and without any, in float32."""
    with_all, without = (
        np.array(played(training, undone, TrainEnv(), AGREE).losses) for undone in ((), names)
    )
    return float(np.abs(with_all - without).max())


def attention(tokens: int, turns: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return processor seconds of attention forward and backward in bf16, 4 heads of 32, plain and fused, by turn."""
    kinds = {"plain": SDPBackend.MATH, "fused": SDPBackend.FLASH_ATTENTION}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    query, key, value = (
        torch.randn(max(1, PER_STEP // tokens), 4, tokens, 32, dtype=torch.bfloat16, requires_grad=True)
        for _ in range(3)
    )
    for _ in range(WARM + turns):
        for kind, backend in kinds.items():
            before = time.process_time()
            with sdpa_kernel(backend):
                F.scaled_dot_product_attention(query, key, value).sum().backward()  # type: ignore[no-untyped-call]
            seconds[kind].append(time.process_time() - before)
    return {kind: np.array(found[WARM:]) for kind, found in seconds.items()}


def compared(seconds: dict[str, np.ndarray[Any, Any]], base: str) -> dict[str, Any]:
    """Return each variant's seconds and how many times ``base``'s they are, with 95 % intervals over turns."""
    turns = len(seconds[base])
    drawn = np.random.default_rng(0).integers(turns, size=(DRAWS, turns))
    ratios = {variant: took / seconds[base] for variant, took in seconds.items()}
    return {
        variant: {
            "seconds": float(np.median(seconds[variant])),
            "ratio": interval(np.median(ratio[drawn], axis=1), float(np.median(ratio))),
        }
        for variant, ratio in ratios.items()
    }


def classifier(config: Config, side: int, env: TrainEnv, steps: int, scratch: Path) -> TrainLog:
    """Train the classifier of the config on random images of ``side`` pixels."""
    rng = np.random.default_rng(0)
    decoded_images.IMAGES.write(rng.integers(256, size=(IMAGES, side, side, 3), dtype=np.uint8), scratch)
    job = FitJob(
        images=ImageRows.of(decoded_images.IMAGES.path(scratch), np.arange(IMAGES)),
        labels_N=np.arange(IMAGES) % len(CLASSES),
        classes=CLASSES,
        image_size=side,
        config=config.classifier,
        plan=make_plan(config.classifier, "speed", 0, steps=steps),
        augment=config.classifier.augment,
        weights=scratch / "weights.safetensors",
        checkpoint=scratch / "checkpoint",
    )
    model, meta = starting_model(job)
    return fit(model, meta, job.images.open(), job.labels_N, job, env)


def denoiser(config: Config, env: TrainEnv, steps: int, scratch: Path) -> TrainLog:
    """Train the denoiser of the config on random latents, embeddings and prompts."""
    rng = np.random.default_rng(0)
    channels, side = config.vae.latent_channels, config.data.image_size // config.vae.downsample
    width, levels = config.embedder.width, config.embedder.levels
    model = build_denoiser(config.denoiser, channels, side, width, width, seed=0)
    data = DenoiserData(
        latents_N2chw=rng.normal(size=(IMAGES, 2, channels, side, side)).astype(np.float32),
        levels_NLD=rng.normal(size=(IMAGES, levels, width)).astype(np.float32),
        neighbours_NK=rng.integers(IMAGES, size=(IMAGES, 5)),
        prompts_UPW=torch.from_numpy(rng.normal(size=(len(CLASSES), 12, width)).astype(np.float32)),
        prompt_of_N=np.arange(IMAGES) % len(CLASSES),
        null_prompt_PW=torch.zeros(12, width),
    )
    noise = alphas_bar(scheduler_config(config.denoiser.schedule, config.denoiser.prediction))
    objective = DenoiserObjective(
        model=model, data=data, config=config.denoiser, fuse=config.embedder.fuse, abar_T=noise, env=env
    )
    plan = TrainPlan.of(config.denoiser, name="speed", seed=0, steps=steps, ema=config.denoiser.ema)
    prepare(model, config.denoiser, env)
    return train(model.train(), objective, np.ones(IMAGES), plan, env, scratch)


def embedder(config: Config, env: TrainEnv, steps: int, scratch: Path) -> TrainLog:
    """Train the small CLIP of the config on random images with a caption a class."""
    rng = np.random.default_rng(0)
    side = config.data.image_size
    images = rng.integers(256, size=(IMAGES, side, side, 3), dtype=np.uint8)
    labels = np.arange(IMAGES) % len(CLASSES)
    examples = embedder_train.Examples(
        captions=np.array([f"a dermoscopic image of {CLASSES[label]}" for label in labels]),
        lesion_id=np.array([f"lesion {row}" for row in range(IMAGES)]),
        label_N=labels,
        image_size=side,
        views=lambda rows: (images[rows], images[rows]),
    )
    settings = config.embedder.model_copy(update={"steps": steps})
    return embedder_train.fit(settings, examples, scratch / "clip", scratch / "checkpoint", 0, env)


def _show(part: str, base: str, figures: dict[str, Any]) -> None:
    table = Table(title=part)
    for column in ("variant", "seconds", f"times '{base}'"):
        table.add_column(column)
    for variant, row in figures.items():
        ratio = row["ratio"]
        table.add_row(
            variant,
            f"{row['seconds']:.4f}",
            f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
        )
    Console().print(table)


if __name__ == "__main__":
    script(main)
