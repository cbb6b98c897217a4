"""Turns real and synthesized images of a bench into sets of features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.artifacts import conditioning, synthesized
from engine.evaluation.fidelity.figures import ImageSet
from experiments.lib.bench import Bench


def real_set(bench: Bench, part: str | None = "train") -> ImageSet:
    """Return the judge's features of real images of a part of the split."""
    dataset = bench.dataset
    rows = np.flatnonzero(dataset.table.split == part)
    return ImageSet(
        features_NF=bench.real_view("judge")[rows],
        dx=dataset.table.dx[rows],
        cluster=dataset.group_N[rows],
    )


def made_set(bench: Bench, condition: Path, made: Path) -> ImageSet:
    """Return the judge's features of synthesized images; clusters are their parents'."""
    dataset = bench.dataset
    samples = conditioning.read_samples(condition)
    group = dataset.group_N[dataset.positions(samples.parent_image_id)]
    features = bench.features(synthesized.IMAGES.path(made), len(samples))
    return ImageSet(features_NF=features, dx=samples.label_S, cluster=group)
