"""Latents of 4 against 8 channels (Kim et al., Fig. 2): what survives of a lesion at equal budget.

usage: python -m experiments.vae_channels RUN [--name vae_channels]

One VAE for each number of channels, all else as in the run's config (the run's own VAE is taken where it fits), trained on
train lesions, measured on its mine and val lesions: L1, PSNR, SSIM, colour error, detail error inside the lesion mask (mean
absolute difference of the high-pass, image minus Gaussian blur of 1.5 px), and the learnability gap, the balanced accuracy
that the run's round-0 classifier loses when it sees reconstructions. Differences are paired by image and resampled by
lesion. Seconds a step are timed apart, the two alternating, because machines are noisy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from sklearn.metrics import balanced_accuracy_score

from engine.classifier.weights import open_logits
from engine.commands.finished_run import choose
from engine.config import VaeConfig
from engine.diffusion.codec import LatentCodec, images_to_tensor, load_codec
from engine.diffusion.vae import build_vae
from engine.diffusion.vae_loss import ssim
from engine.diffusion.vae_train import VaeObjective
from engine.evaluation.fidelity_figures import cluster_weights
from engine.train_plan import TrainEnv, step_generator
from experiments.bench import Bench
from experiments.keeping import interval, provenance, save, this_command

CHANNELS = (4, 8)
HIGH_PASS = 1.5
DRAWS = 1000
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
        codecs = {c: load_codec(folder_of(bench, c)) for c in CHANNELS}
        dataset = bench.dataset
        rows = np.flatnonzero(np.isin(dataset.table.split, ["mine", "val"]))
        measured = {c: measure(bench, codec, rows) for c, codec in codecs.items()}
        figures = compare(measured, dataset.table.lesion_id[rows], dataset.labels[rows])
        figures["seconds_per_step"] = seconds(bench)
        folder = save(
            arguments.name, {**provenance(this_command(), bench.config), "n_images": len(rows), **figures}
        )
        sheet(bench, codecs, folder / "reconstructions.png")
    print(folder)


def folder_of(bench: Bench, channels: int) -> Path:
    """Return the VAE stage of so many channels: the run's own, or one trained now."""
    if bench.config.vae.latent_channels == channels:
        return bench.parts["vae"]
    section = {**bench.config.vae.model_dump(mode="json"), "latent_channels": channels}
    inputs = {k: bench.parts[k] for k in ("images", "split")}
    return bench.stage("vae", {"vae": section}, inputs, bench.config.seed)


def measure(bench: Bench, codec: LatentCodec, rows: Any) -> dict[str, Any]:
    """Return figures by image: arrays over ``rows``."""
    dataset = bench.dataset
    logits, _ = open_logits(choose(bench.run.path, 0, "real").folder / "classifier.safetensors", "cpu")
    columns: dict[str, list[Any]] = {
        n: [] for n in ("l1", "psnr", "ssim", "colour", "detail", "real", "recon")
    }
    for start in range(0, len(rows), 32):
        chosen = dataset.rows[rows[start : start + 32]]
        real, masks = np.array(dataset.images_NHWC[chosen]), np.array(dataset.masks_NHW[chosen]) > 0
        recon = codec.decode(codec.encode(real))
        a, b = real / 255.0, recon / 255.0
        error = a - b
        columns["l1"].append(np.abs(error).mean(axis=(1, 2, 3)))
        columns["psnr"].append(-10 * np.log10(np.maximum((error**2).mean(axis=(1, 2, 3)), 1e-10)))
        pixels = [images_to_tensor(x) / 2 + 0.5 for x in (real, recon)]
        columns["ssim"].append(ssim(*pixels).double().numpy())
        columns["colour"].append(np.linalg.norm(error.mean(axis=(1, 2)), axis=1))
        high = error - gaussian_filter(error, (0, HIGH_PASS, HIGH_PASS, 0))
        inside = (np.abs(high).mean(axis=3) * masks).sum(axis=(1, 2)) / np.maximum(masks.sum(axis=(1, 2)), 1)
        columns["detail"].append(inside)
        with torch.inference_mode():
            for name, images in (("real", real), ("recon", recon)):
                columns[name].append(logits(images_to_tensor(images)).argmax(dim=1).numpy())
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def compare(measured: dict[int, dict[str, Any]], lesion: Any, label: Any) -> dict[str, Any]:
    """Return each figure with its interval, and the paired differences 8 minus 4."""
    weights = cluster_weights(lesion, DRAWS, np.random.default_rng(0))
    names = ("l1", "psnr", "ssim", "colour", "detail")
    figures: dict[str, Any] = {"channels": {}, "difference_8_minus_4": {}}

    def mean(values: Any) -> dict[str, float]:
        return interval((weights @ values) / weights.sum(axis=1), values.mean())

    def gap(found: dict[str, Any], w: Any = None) -> float:
        scores = [balanced_accuracy_score(label, found[k], sample_weight=w) for k in ("real", "recon")]
        return float(scores[0] - scores[1])

    gaps = {c: np.array([gap(found, w) for w in weights]) for c, found in measured.items()}
    for channels, found in measured.items():
        figures["channels"][channels] = {n: mean(found[n]) for n in names}
        figures["channels"][channels]["learnability_gap"] = interval(gaps[channels], gap(found))
    few, many = (measured[c] for c in CHANNELS)
    figures["difference_8_minus_4"] = {n: mean(many[n] - few[n]) for n in names}
    figures["difference_8_minus_4"]["learnability_gap"] = interval(
        gaps[CHANNELS[1]] - gaps[CHANNELS[0]], gap(many) - gap(few)
    )
    return figures


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


def sheet(bench: Bench, codecs: dict[int, LatentCodec], path: Path) -> None:
    """Write input | 4 channels | 8 channels for two val lesions of each class, twice enlarged."""
    dataset = bench.dataset
    val = dataset.where("val")
    chosen = [p for c in range(len(dataset.classes)) for p in val[dataset.labels[val] == c][:2]]
    real = np.array(dataset.images_NHWC[dataset.rows[np.array(chosen)]])
    columns = [("input", real)] + [
        (f"{c} channels", codec.decode(codec.encode(real))) for c, codec in codecs.items()
    ]
    side = 2 * real.shape[1]
    half = len(chosen) // 2
    picture = Image.new("RGB", (2 * (50 + 3 * (side + 4)), 20 + half * (side + 4)), "white")
    pen = ImageDraw.Draw(picture)
    for index, position in enumerate(chosen):
        left, top = index % 2 * (50 + 3 * (side + 4)), 20 + index // 2 * (side + 4)
        pen.text((left + 6, top + side // 2), str(dataset.table.dx[position]), fill="black")
        for column, (name, images) in enumerate(columns):
            place = left + 50 + column * (side + 4)
            pen.text((place, 4), name, fill="black")
            picture.paste(
                Image.fromarray(images[index]).resize((side, side), Image.Resampling.BICUBIC), (place, top)
            )
    picture.save(path)


if __name__ == "__main__":
    main()
