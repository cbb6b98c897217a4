"""Shows the forward process on digits, and what the model makes before and after training (the thesis's figure).

usage: python -m experiments.forward_process experiments/configs/mnist_28.yaml data.root=$HARDCASE_DATA/mnist

Rows: test digits at 0, 25, 50, 75 and 100 % of the noise range; below them samples of the untrained and of the trained
network from the same noise. Figures: how well the judge (trained on train digits) reads the samples, beside its recall on
real val digits; the empirical mean and spread of x_t against the closed form of q(x_t | x_0); and bits per dimension of val
digits (``evaluation.likelihood``).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from engine import build
from engine.artifacts import synthesized
from engine.artifacts.generator_parts import read_denoiser
from engine.config import DenoiserConfig
from engine.diffusion.codec import load_codec
from engine.diffusion.denoiser import build_denoiser, load_denoiser, save_denoiser
from engine.diffusion.process import NoiseProcess
from engine.training.plan import derive_seed
from experiments.lib.bench import Bench, build_foundation
from experiments.lib.keeping import provenance, save, script, this_command

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
PER_CLASS = 2
TILE = 56


def main() -> None:
    """Train (or find) the model, noise, sample, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--name", default="forward_process")
    arguments = parser.parse_args()
    config = build.load(arguments.config, arguments.overrides)
    run = build_foundation(config)
    with tempfile.TemporaryDirectory() as place:
        bench = Bench.open(run, Path(place) / "bench")
        noised, moments = forward(bench)
        condition = bench.condition(dict.fromkeys(bench.dataset.classes, PER_CLASS * 10))
        samples, read = {}, {}
        for name, extra in (("untrained", {"denoiser": untrained(bench)}), ("trained", {})):
            made, _, _ = bench.synthesize(condition, extra)
            accept, frame = bench.accept(condition, made)
            read[name] = {k: accept[k] for k in ("agreement", "expected_agreement", "agreement_ratio")}
            images = synthesized.read(made)
            shown = frame.drop_duplicates("dx").sort_values("dx").index.to_numpy()
            samples[name] = images[shown]
            read[name]["fidelity"] = bench.fidelity(condition, made)["overall"]
        facts = read_denoiser(bench.parts["denoiser"]).to_json()
        likelihood = bench.likelihood
    result = {
        **provenance(this_command(), config),
        "forward": moments,
        "samples": read,
        "likelihood": likelihood,
        "denoiser": {k: facts[k] for k in ("val_loss", "val_curve", "kept_step", "parameters")},
    }
    folder = save(arguments.name, result)
    sheet(noised, samples, folder / "forward_process.png")
    print(folder)


def forward(bench: Bench) -> tuple[list[Any], list[dict[str, float]]]:
    """Return one test image of each class at each noise level, decoded, and moments of x_t over 500 images."""
    dataset = bench.dataset
    test = dataset.where("test")
    codec = load_codec(bench.parts["vae"])
    process = NoiseProcess(read_denoiser(bench.parts["denoiser"]).scheduler)
    first = [test[dataset.labels[test] == c][0] for c in range(len(dataset.classes))]
    clean = codec.encode(np.asarray(dataset.images_NHWC[dataset.rows[np.array(first)]]))
    many = codec.encode(np.asarray(dataset.images_NHWC[dataset.rows[test[:500]]]))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(clean.shape, generator=generator)
    pictures, moments = [], []
    for share in LEVELS:
        u = share * process.last
        a, b = (1.0, 0.0) if share == 0 else (process.signal(u), process.noise(u))
        pictures.append(codec.decode(a * clean + b * noise))
        x = a * many + b * torch.randn(many.shape, generator=generator)
        moments.append({
            "noise_share": share,
            "abar": a**2,
            "std": float((x - a * many).std()) if share else 0.0,
            "std_closed_form": b,
            "correlation_with_x0": float(torch.corrcoef(torch.stack([x.flatten(), many.flatten()]))[0, 1]),
        })  # fmt: skip
    return pictures, moments


def untrained(bench: Bench) -> Path:
    """Return a denoiser folder with the weights that training started from."""
    source, out = bench.parts["denoiser"], bench.scratch / "untrained"
    shutil.copytree(source, out)
    trained = load_denoiser(source)
    config: DenoiserConfig = bench.config.denoiser
    model = build_denoiser(
        config,
        int(trained.unet.config.in_channels),
        int(trained.unet.config.sample_size),
        int(trained.unet.config.cross_attention_dim),
        len(trained.null_D),
        derive_seed(bench.config.seed, "denoiser", "init"),
    )
    save_denoiser(model, out)
    return out


def sheet(noised: list[Any], samples: dict[str, Any], path: Path) -> None:
    """Write one row per noise level, then a row of samples before and one after training; one column per class."""
    rows = [(f"{share:.0%} noise", images) for share, images in zip(LEVELS, noised, strict=True)]
    rows += [(f"{name} model", images) for name, images in samples.items()]
    left = 130
    picture = Image.new("RGB", (left + len(noised[0]) * (TILE + 4), len(rows) * (TILE + 4)), "white")
    pen = ImageDraw.Draw(picture)
    for line, (name, images) in enumerate(rows):
        pen.text((8, line * (TILE + 4) + TILE // 2 - 6), name, fill="black")
        for column, image in enumerate(images):
            tile = Image.fromarray(image).resize((TILE, TILE), Image.Resampling.NEAREST)
            picture.paste(tile, (left + column * (TILE + 4), line * (TILE + 4)))
    picture.save(path)


if __name__ == "__main__":
    script(main)
