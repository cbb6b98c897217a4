"""Turns real and synthesized images of a bench into sets of features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from engine.evaluation.fidelity.figures import ImageSet
from engine.types import strings
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
    frame = pd.read_parquet(condition / "conditioning.parquet")
    group = dataset.group_N[dataset.positions(strings(frame["parent_image_id"].tolist()))]
    features = bench.features(made / "images.npy", len(frame))
    return ImageSet(features_NF=features, dx=strings(frame["dx"].tolist()), cluster=group)
