"""Compares latents of 4 and 8 channels (Kim et al., Fig. 2): what remains of a lesion at equal budget.

usage: python -m experiments.vae_channels RUN [--name vae_channels]

Trains one VAE per number of channels on train lesions, everything else as in the run's config (the run's own VAE is used
where it fits), and measures it on mine and val lesions (see experiments.lib.reconstructions). Seconds per step are timed
apart, the two in turns, because machines are noisy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from engine.config import VaeConfig
from engine.diffusion.codec import load_codec
from engine.diffusion.vae import build_vae
from engine.diffusion.vae_train import VaeObjective
from engine.training.plan import TrainEnv, step_generator
from experiments.lib.bench import Bench
from experiments.lib.keeping import provenance, save, script, this_command
from experiments.lib.reconstructions import compare, sheet

CHANNELS = (4, 8)
TIMED = 12


def main() -> None:
    """Train what is missing, measure both, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", default="vae_channels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench.open(arguments.run, Path(place) / "bench")
        codecs = {f"{c} channels": load_codec(folder_of(bench, c)) for c in CHANNELS}
        figures = compare(bench, codecs)
        figures["seconds_per_step"] = seconds(bench)
        folder = save(arguments.name, {**provenance(this_command(), bench.config), **figures})
        sheet(bench, codecs, folder / "reconstructions.png")
    print(folder)


def folder_of(bench: Bench, channels: int) -> Path:
    """Return the VAE stage of so many channels: the run's own, or one trained now."""
    if bench.config.vae.latent_channels == channels:
        return bench.parts["vae"]
    return bench.train_vae(latent_channels=channels)


def seconds(bench: Bench) -> dict[str, float]:
    """Return the median seconds of a training step for each number of channels, timed in turns, and their ratio."""
    dataset = bench.dataset
    train = dataset.where("train")
    times: dict[int, list[float]] = {c: [] for c in CHANNELS}
    env = TrainEnv(threads=bench.config.backend.threads)
    env.begin()
    objectives, optimizers = {}, {}
    for c in CHANNELS:
        config = VaeConfig.model_validate({**bench.config.vae.model_dump(), "latent_channels": c})
        vae = build_vae(config, bench.config.data.image_size, 0)
        optimizers[c] = torch.optim.AdamW(vae.parameters(), lr=1e-4)
        objectives[c] = VaeObjective(
            vae=vae,
            images=lambda rows: np.array(dataset.images_NHWC[dataset.rows[train[rows]]]),
            config=config,
            env=env,
        )
    for step in range(TIMED):
        for c in CHANNELS:
            start = time.perf_counter()
            optimizers[c].zero_grad()
            objectives[c](
                np.arange(objectives[c].config.batch_size), step, step_generator(0, "timed", step)
            ).backward()
            optimizers[c].step()
            times[c].append(time.perf_counter() - start)
    median = {c: float(np.median(t[2:])) for c, t in times.items()}
    return {**{str(c): m for c, m in median.items()}, "ratio_8_to_4": median[8] / median[4]}


if __name__ == "__main__":
    script(main)
