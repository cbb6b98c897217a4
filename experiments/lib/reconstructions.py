"""Measures how well a VAE keeps real lesions it has not seen: figures by image, two VAEs compared, and a sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from engine.artifacts import classifier_fit
from engine.classifier.weights import open_logits
from engine.commands.finished_run import choose
from engine.diffusion.codec import LatentCodec, images_to_tensor
from engine.diffusion.vae_loss import ssim
from engine.evaluation import metrics
from engine.evaluation.fidelity.figures import cluster_weights
from engine.parts.judge_folds import judge_folds
from engine.stages.judge import recall
from experiments.lib.bench import Bench
from experiments.lib.keeping import interval

HIGH_PASS = 1.5
"""Standard deviation, pixels, of the blur that the high-pass takes away."""
DRAWS = 1000
FIGURES = ("l1", "psnr", "ssim", "colour", "chroma", "detail")


def compare(bench: Bench, codecs: Mapping[str, LatentCodec]) -> dict[str, Any]:
    """Return figures of two VAEs on the run's mine and val lesions, and second minus first, paired by image.

    Intervals resample lesions. ``l1``, ``psnr`` (dB), ``ssim``; ``colour``: distance of the mean colours; ``chroma``: mean
    absolute error of colour (each channel less the mean of the three); ``detail``: mean absolute high-pass error inside
    the lesion mask; all of values in [0, 1]. ``learnability_gap``: balanced accuracy that the run's round-0 classifier loses
    on reconstructions. ``judge_recall``: the judge's recall by class, of real images and of reconstructions.
    """
    dataset = bench.dataset
    rows = np.flatnonzero(np.isin(dataset.table.split, ["mine", "val"]))
    label = dataset.labels[rows]
    measured = {name: measure(bench, codec, rows) for name, codec in codecs.items()}
    weights = cluster_weights(dataset.group_N[rows], DRAWS, np.random.default_rng(0))

    def mean(values: Any) -> dict[str, float]:
        return interval((weights @ values) / weights.sum(axis=1), values.mean())

    def gap(found: dict[str, Any], weights_BN: Any) -> Any:
        real, recon = (
            balanced_accuracy(label, found[k], len(dataset.classes), weights_BN) for k in ("real", "recon")
        )
        return real - recon

    whole = np.ones((1, len(rows)))
    gaps = {name: gap(found, weights) for name, found in measured.items()}
    lost = {name: float(gap(found, whole)[0]) for name, found in measured.items()}
    figures = {
        name: {
            **{n: mean(found[n]) for n in FIGURES},
            "learnability_gap": interval(gaps[name], lost[name]),
            "judge_recall": recall(found["judge_recon"], label, dataset.classes),
        }
        for name, found in measured.items()
    }
    first, second = measured
    change = {n: mean(measured[second][n] - measured[first][n]) for n in FIGURES}
    change["learnability_gap"] = interval(gaps[second] - gaps[first], lost[second] - lost[first])
    return {
        "n_images": len(rows),
        "judge_recall_real": recall(measured[first]["judge_real"], label, dataset.classes),
        "vaes": figures,
        "difference": {"minuend": second, "subtrahend": first, **change},
    }


def balanced_accuracy(label_N: Any, predicted_N: Any, classes: int, weights_BN: Any) -> Any:
    """Mean sensitivity over the classes that have images, of each row of weights, (B,)."""
    confusion = weights_BN @ metrics.confusion_columns(label_N, predicted_N, classes)
    return metrics.mean_defined(metrics.sensitivity(confusion.reshape(-1, classes, classes)))


def measure(bench: Bench, codec: LatentCodec, rows: Any) -> dict[str, Any]:
    """Return figures by image: arrays over ``rows``."""
    dataset = bench.dataset
    classifier = [choose(bench.run.path, 0, "real").folder / classifier_fit.WEIGHTS]
    models = {"": classifier, "judge_": judge_folds(bench.parts["judge"])}
    opened = {name: [open_logits(path, "cpu")[0] for path in paths] for name, paths in models.items()}
    columns: dict[str, list[Any]] = {}
    for start in range(0, len(rows), 32):
        chosen = dataset.rows[rows[start : start + 32]]
        real, masks = np.array(dataset.images_NHWC[chosen]), np.array(dataset.masks_NHW[chosen]) > 0
        recon = codec.decode(codec.encode(real))
        error = real / 255.0 - recon / 255.0
        pixels = [images_to_tensor(x) / 2 + 0.5 for x in (real, recon)]
        high = np.abs(error - gaussian_filter(error, (0, HIGH_PASS, HIGH_PASS, 0))).mean(axis=3)
        found = {
            "l1": np.abs(error).mean(axis=(1, 2, 3)),
            "psnr": -10 * np.log10(np.maximum((error**2).mean(axis=(1, 2, 3)), 1e-10)),
            "ssim": ssim(*pixels).double().numpy(),
            "colour": np.linalg.norm(error.mean(axis=(1, 2)), axis=1),
            "chroma": np.abs(error - error.mean(axis=3, keepdims=True)).mean(axis=(1, 2, 3)),
            "detail": (high * masks).sum(axis=(1, 2)) / np.maximum(masks.sum(axis=(1, 2)), 1),
        }
        with torch.inference_mode():
            for prefix, networks in opened.items():
                for name, images in (("real", real), ("recon", recon)):
                    parts = [network(images_to_tensor(images)).softmax(dim=1) for network in networks]
                    probability = torch.stack(parts).mean(dim=0)
                    found[prefix + name] = (probability if prefix else probability.argmax(dim=1)).numpy()
        for name, values in found.items():
            columns.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def sheet(bench: Bench, codecs: Mapping[str, LatentCodec], path: Path) -> None:
    """Write input | first | second for two val lesions of each class, twice enlarged."""
    dataset = bench.dataset
    val = dataset.where("val")
    chosen = [p for c in range(len(dataset.classes)) for p in val[dataset.labels[val] == c][:2]]
    real = np.array(dataset.images_NHWC[dataset.rows[np.array(chosen)]])
    columns = [("input", real)] + [(name, codec.decode(codec.encode(real))) for name, codec in codecs.items()]
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
