"""Measures adversarial guidance by scale: how hard samples become for the classifier, and whether they keep their class.

usage: python -m experiments.guidance RUN [--count 210] [--scales 0 0.5 1 2 4] [--name guidance]

The same parents, neighbours and seeds at every scale; only the gradient's scale differs, so differences are paired. The
classifier is round 0's, and guidance raises its loss on the samples. A second classifier that guidance never saw (the last
round's) tells how much of that is hardness and how much an attack on one network's weights. The judge's folds that had no
part in guidance check the class. Nothing here is read from the test split.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from engine.artifacts import classifier_fit, synthesized
from engine.classifier.weights import open_logits
from engine.commands.finished_run import choose
from engine.diffusion.codec import images_to_tensor
from engine.diffusion.steering import hardness
from experiments.lib.bench import Bench
from experiments.lib.keeping import interval, provenance, save, script, this_command

DRAWS = 1000
SHOWN = 8


def main() -> None:
    """Sweep the scale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=210)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--objective", default="loss", choices=["loss", "entropy", "margin"])
    parser.add_argument("--name", default="guidance")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench.open(arguments.run, Path(place) / "bench")
        rows, pictures = sweep(bench, arguments.count, arguments.scales, arguments.objective)
    figures = {**provenance(this_command(), bench.config), "count": arguments.count, "objective": arguments.objective,
               "bootstrap": DRAWS, "scales": rows}  # fmt: skip
    folder = save(arguments.name, figures)
    draw(rows, folder / "guidance.png")
    sheet(pictures, arguments.scales, folder / "samples.png")
    print(folder)


def sweep(
    bench: Bench, count: int, scales: list[float], objective: str
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return figures a scale, and the images of each scale."""
    classes = bench.dataset.classes
    share = -(-count // len(classes))
    condition = bench.condition(dict.fromkeys(classes, share), mine_from="mine")
    target = choose(bench.run.path, 0, "real").folder
    other = choose(bench.run.path, arm="hard").folder
    rows, pictures, base = [], [], None
    for scale in scales:
        settings = {"adversarial_scale": scale, "adversarial_objective": objective}
        made, seconds, _ = bench.synthesize(condition, {"classifier": target}, **settings)
        images = synthesized.read(made)
        accept, frame = bench.accept(condition, made, guided=True)
        label = torch.tensor([classes.index(dx) for dx in frame["dx"]])
        losses = {
            name: loss_of(folder / classifier_fit.WEIGHTS, images, label)
            for name, folder in (("attacked", target), ("unseen", other))
        }
        agrees = (frame["judge_predicted"] == frame["dx"]).to_numpy(dtype=float)
        measured = {**losses, "judge": agrees}
        base = base or measured
        fidelity = bench.fidelity(condition, made)
        rows.append({
            "scale": scale,
            "seconds": round(seconds, 1),
            "loss_attacked": paired(losses["attacked"], base["attacked"]),
            "loss_unseen": paired(losses["unseen"], base["unseen"]),
            "judge_agreement": paired(agrees, base["judge"]),
            "expected_agreement": accept["expected_agreement"],
            "kid": fidelity["overall"]["kid"],
        })  # fmt: skip
        pictures.append(images)
    return rows, pictures


def loss_of(weights: Path, images: Any, label: torch.Tensor) -> Any:
    """Return the classifier's cross-entropy of each image, nats."""
    logits, _ = open_logits(weights, "cpu")
    with torch.inference_mode():
        pieces = [
            hardness(logits(images_to_tensor(images[i : i + 32])), label[i : i + 32], "loss")
            for i in range(0, len(images), 32)
        ]
    return torch.cat(pieces).double().numpy()


def paired(values: Any, base: Any) -> dict[str, Any]:
    """Return the mean, and its difference from scale 0 with an interval over samples (seed by seed)."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(values), (DRAWS, len(values)))
    difference = values - base
    return {**interval(values[rows].mean(axis=1), values.mean()),
            "change": interval(difference[rows].mean(axis=1), difference.mean())}  # fmt: skip


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw loss and label consistency against scale."""
    scale = [row["scale"] for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for name, colour, label in (
        ("loss_attacked", "#b4500f", "classifier that is pushed against"),
        ("loss_unseen", "#0b5cad", "classifier that guidance never saw"),
    ):
        _line(axes[0], scale, [row[name] for row in rows], colour, label)
    axes[0].set_ylabel("cross-entropy of samples, nats")
    _line(axes[1], scale, [row["judge_agreement"] for row in rows], "#2e7d32", "judge agrees with the class")
    axes[1].axhline(
        rows[0]["expected_agreement"], color="#888", linestyle=":", label="judge's recall on real val images"
    )
    axes[1].set_ylim(0, 1)
    for axis in axes:
        axis.set_xlabel("synthesis.adversarial_scale")
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _line(axis: Any, x: list[float], figures: list[dict[str, Any]], colour: str, label: str) -> None:
    value = [f["value"] for f in figures]
    axis.plot(x, value, "o-", color=colour, label=label)
    axis.fill_between(x, [f["low"] for f in figures], [f["high"] for f in figures], color=colour, alpha=0.2)


def sheet(pictures: list[Any], scales: list[float], path: Path) -> None:
    """Write the same samples (columns) at each scale (rows)."""
    chosen = np.linspace(0, len(pictures[0]) - 1, SHOWN).round().astype(int)
    tiles = [np.concatenate([np.asarray(Image.fromarray(images[i]).resize((96, 96))) for i in chosen], axis=1)
             for images in pictures]  # fmt: skip
    Image.fromarray(np.concatenate(tiles)).save(path)
    print(f"rows of {path.name}: scales {', '.join(map(str, scales))}")


if __name__ == "__main__":
    script(main)
