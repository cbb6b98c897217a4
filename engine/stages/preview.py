"""Stage ``preview``: a contact sheet of train images, their reconstructions and synthetic images, class by class."""

from __future__ import annotations

import numpy as np

from engine.artifacts import conditioning, synthesized
from engine.config import Config, VaeConfig
from engine.diffusion.codec import LatentCodec, coding, load_codec
from engine.diffusion.holdout import held_out
from engine.parts.context import StageContext
from engine.parts.dataset import Dataset, open_dataset
from engine.report.sheets import class_sheet
from engine.stages import base
from engine.stages.outputs import File
from engine.training.plan import TrainEnv
from engine.types import ImageArray, IntArray

SHOWN = 4
"""Images per class and group of columns."""


class Params(base.Params):
    """The autoencoder whose reconstructions are shown."""

    vae: VaeConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` shows."""
        return cls(vae=config.vae)


def run(context: StageContext, _params: Params) -> None:
    """Fill ``contact_sheet.png``.

    Without the inputs ``synthesize`` and ``condition`` its last columns are empty, without ``vae`` (a generator that has
    none) the reconstructions.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    codec = load_codec(context.inputs["vae"], context.device) if "vae" in context.inputs else None
    real = {
        name: np.asarray(dataset.images_NHWC[dataset.rows[positions]])
        for name, positions in _shown(dataset).items()
    }
    with coding(TrainEnv(device=context.device, precision=context.precision)):
        recon = _reconstructed(codec, real) if codec is not None and real else {}
    class_sheet(real, recon, _synthetic(context), context.out / "contact_sheet.png")


def _reconstructed(codec: LatentCodec, real: dict[str, ImageArray]) -> dict[str, ImageArray]:
    """Return each class's images after the VAE; together, because a short chunk costs as much as a full one."""
    ends = np.cumsum([len(images) for images in real.values()])[:-1]
    recon = codec.decode(codec.encode(np.concatenate(list(real.values()))))
    return dict(zip(real, np.split(recon, ends), strict=True))


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
    images = synthesized.open_images(context.inputs["synthesize"])
    dx = conditioning.read_column(context.inputs["condition"], "dx")
    return {str(name): np.asarray(images[np.flatnonzero(dx == name)[:SHOWN]]) for name in np.unique(dx)}


STAGE = base.Stage(
    name="preview",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split"),
    optional=("vae", "condition", "synthesize"),
    files=(File("contact_sheet.png", "one row per class: real, VAE reconstruction, synthetic"),),
)
