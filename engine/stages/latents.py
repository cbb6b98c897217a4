"""Stage ``latents``: the scaled latent of every train image and of its mirror image, computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from engine.artifacts import generator_parts
from engine.config import Config, VaeConfig
from engine.diffusion.codec import CHUNK, coding, load_codec
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.own_images import sees_unlabelled
from engine.stages import base
from engine.training.plan import TrainEnv
from engine.types import IntArray


@dataclass(frozen=True, kw_only=True)
class EncodeWorker:
    """Encodes chunks of train positions; (B,) positions -> (B, 2, c, h, w) float32."""

    vae: Path
    images: Path
    split: Path
    unlabelled: bool
    device: str
    threads: int
    precision: str

    def load(self) -> Callable[[IntArray], npt.NDArray[np.float32]]:
        """Open the VAE and the images once."""
        torch.set_num_threads(self.threads)
        codec = load_codec(self.vae, self.device)
        dataset = open_dataset(self.images, self.split, unlabelled=self.unlabelled)

        def encode(positions: IntArray) -> npt.NDArray[np.float32]:
            images = np.asarray(dataset.images_NHWC[dataset.rows[positions]])
            with coding(TrainEnv(device=self.device, precision=self.precision)):
                both = [codec.encode(view).cpu().numpy() for view in (images, images[:, :, ::-1])]
            return np.stack(both, axis=1)

        return encode


class Params(base.GeneratorParams):
    """The autoencoder the latents are of."""

    vae: VaeConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(vae=config.vae, unlabelled=sees_unlabelled(config))


def run(context: StageContext, params: Params) -> None:
    """Fill ``latents.npy`` (N, 2, c, h, w) float32, rows in the order of ``dataset.learned()``."""
    unlabelled = params.unlabelled
    dataset = open_dataset(context.inputs["images"], context.inputs["split"], unlabelled=unlabelled)
    rows = dataset.learned()
    worker = EncodeWorker(
        vae=context.inputs["vae"],
        images=context.inputs["images"],
        split=context.inputs["split"],
        unlabelled=unlabelled,
        device=context.device,
        threads=context.threads,
        precision=context.precision,
    )
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    pieces = list(context.map(worker, chunks, "latents"))
    generator_parts.LATENTS.write(np.concatenate(pieces), context.out)


STAGE = base.Stage(
    name="latents",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "vae"),
    maps=True,
    foundation=True,
    wanted=lambda config: config.synthesis.generator == "diffusion",
    units=lambda _params, sizes: sizes.chunks(sizes.train),
    files=(generator_parts.LATENTS,),
)
