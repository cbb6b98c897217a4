"""Stage ``preview``: a contact sheet of train images, their reconstructions and synthetic images, class by class."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.diffusion.codec import load_codec
from engine.diffusion.holdout import held_out
from engine.diffusion.preview import contact_sheet
from engine.parts.dataset import Dataset, open_dataset
from engine.stages.base import StageContext
from engine.types import ImageArray, IntArray

SHOWN = 4
"""Images a class and group of columns."""


def run(context: StageContext) -> None:
    """Fill ``contact_sheet.png``.

    Without the inputs ``synthesize`` and ``condition`` its last columns are empty, without ``vae`` (a generator that has
    none) the reconstructions.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    codec = load_codec(context.inputs["vae"], context.device) if "vae" in context.inputs else None
    real, recon = {}, {}
    for name, positions in _shown(dataset).items():
        real[name] = np.asarray(dataset.images_NHWC[dataset.rows[positions]])
        if codec is not None:
            recon[name] = codec.decode(codec.encode(real[name]))
    contact_sheet(real, recon, _synthetic(context), context.out / "contact_sheet.png")


def _shown(dataset: Dataset) -> dict[str, IntArray]:
    """Positions of the train images shown for each class: those the VAE has not learned from first."""
    rows = dataset.where("train")
    aside = held_out(dataset.group_N[rows])
    ordered = np.concatenate([rows[aside], rows[~aside]])
    dx = dataset.table.dx[ordered]
    chosen = {name: ordered[dx == name][:SHOWN] for name in dataset.classes}
    return {name: positions for name, positions in chosen.items() if len(positions)}


def _synthetic(context: StageContext) -> dict[str, ImageArray]:
    if not {"synthesize", "condition"} <= set(context.inputs):
        return {}
    images = np.load(context.inputs["synthesize"] / "images.npy", mmap_mode="r", allow_pickle=False)
    dx = pd.read_parquet(context.inputs["condition"] / "conditioning.parquet")["dx"].to_numpy()
    return {str(name): np.asarray(images[np.flatnonzero(dx == name)[:SHOWN]]) for name in np.unique(dx)}
