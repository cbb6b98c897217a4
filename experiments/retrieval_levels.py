"""Measures which CLIP level finds lesions of the same class: precision@10 of each, their mean, and all side by side.

usage: python -m experiments.retrieval_levels RUN [--name retrieval_levels]

Queries are the run's mine, val and test lesions (one image each), the index holds its train lesions; no lesion is in
both. Each is embedded as the extracted lesion (Eq. 1) and as the whole image. Intervals: bootstrap over query lesions.
"macro" gives every class the same weight; otherwise the many nevi would decide.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from engine.artifacts import decoded_images
from engine.parts.embed import WHOLE, Extraction, embed_rows
from engine.retrieval.embedding import fuse, unit_rows
from experiments.lib.bench import Bench
from experiments.lib.keeping import interval, provenance, save, script, this_command

K = 10
DRAWS = 1000


def main() -> None:
    """Embed, retrieve, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", default="retrieval_levels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench.open(arguments.run, Path(place) / "bench")
        figures = measure(bench)
    result = {**provenance(this_command(), bench.config), "k": K, "bootstrap": DRAWS, **figures}
    folder = save(arguments.name, result)
    draw(figures, folder / "precision.png")
    print(folder)


def measure(bench: Bench) -> dict[str, Any]:
    """Return precision@K by kind of image and representation."""
    dataset = bench.dataset
    train = dataset.where("train")
    others = np.flatnonzero(dataset.table.split != "train")
    _, first = np.unique(dataset.table.lesion_id[others], return_index=True)
    queries = others[np.sort(first)]
    found: dict[str, Any] = {"n_index": len(train), "n_queries": len(queries), "precision": {}}
    for kind, mask in (("lesion", bench.config.data.mask), ("whole", "none")):
        train_levels, query_levels = (levels_of(bench, rows, mask) for rows in (train, queries))
        names = [f"level {k + 1}" for k in range(train_levels.shape[1])]
        spaces = {
            name: (unit_rows(train_levels[:, k]), unit_rows(query_levels[:, k]))
            for k, name in enumerate(names)
        }
        for how, name in (("mean", "mean (paper)"), ("concat", "all together")):
            spaces[name] = (fuse(train_levels, how), fuse(query_levels, how))
        labels = dataset.labels
        found["precision"][kind] = {
            name: figures_of(
                hits(index, query, labels[train], labels[queries]), labels[queries], dataset.classes
            )
            for name, (index, query) in spaces.items()
        }
    shares = np.bincount(dataset.labels[train], minlength=len(dataset.classes)) / len(train)
    found["chance"] = {
        "micro": float(shares[dataset.labels[queries]].mean()),
        "macro": float(np.mean([shares[c] for c in np.unique(dataset.labels[queries])])),
    }
    return found


def levels_of(bench: Bench, rows: Any, mask: str) -> Any:
    """Return levels (N, L, D) of rows of the dataset, masked by Eq. 1 or (mask none) whole."""
    dataset = bench.dataset
    cut = WHOLE if mask == "none" else Extraction(mask=mask, crop=bench.config.data.crop)
    images = decoded_images.IMAGES.path(bench.parts["images"]) if mask == "none" else None
    tokens = bench.config.embedder.tokens
    return embed_rows(bench.context, dataset.rows[rows], "embed", tokens=tokens, cut=cut, images=images)


def hits(index_NF: Any, query_QF: Any, label_N: Any, label_Q: Any) -> Any:
    """Return the share of each query's K nearest neighbours that are of its class, (Q,)."""
    near = np.argpartition(-(query_QF @ index_NF.T), K, axis=1)[:, :K]
    return (label_N[near] == label_Q[:, None]).mean(axis=1)


def figures_of(hits_Q: Any, label_Q: Any, classes: Any) -> dict[str, Any]:
    """Return micro and macro precision with intervals, and each class's."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(hits_Q), (DRAWS, len(hits_Q)))
    by_class = [label_Q == c for c in np.unique(label_Q)]
    macro = np.array([
        np.nanmean([hits_Q[r][label_Q[r] == c].mean() if (label_Q[r] == c).any() else np.nan for c in np.unique(label_Q)])
        for r in rows
    ])  # fmt: skip
    return {
        "micro": interval(hits_Q[rows].mean(axis=1), float(hits_Q.mean())),
        "macro": interval(macro, float(np.mean([hits_Q[own].mean() for own in by_class]))),
        "per_class": {str(classes[c]): float(hits_Q[label_Q == c].mean()) for c in np.unique(label_Q)},
    }


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw macro and micro precision with their intervals."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    for axis, kind in zip(axes, ("macro", "micro"), strict=True):
        for offset, (image, colour) in enumerate((("lesion", "#0b5cad"), ("whole", "#b4500f"))):
            rows = figures["precision"][image]
            value = [rows[name][kind]["value"] for name in rows]
            error = [[v - rows[n][kind]["low"] for v, n in zip(value, rows, strict=True)],
                     [rows[n][kind]["high"] - v for v, n in zip(value, rows, strict=True)]]  # fmt: skip
            place = np.arange(len(rows)) + 0.2 * (2 * offset - 1) / 2
            axis.errorbar(value, place, xerr=error, fmt="o", color=colour, label=f"{image} image", capsize=3)
        axis.axvline(figures["chance"][kind], color="#888", linestyle=":", label="chance")
        axis.set_yticks(np.arange(len(rows)), list(rows))
        axis.set_xlabel(f"precision@{K}, {kind}")
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    script(main)
