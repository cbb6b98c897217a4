"""The generators behind one Protocol: rows of the conditioning in, images out. ``synthesis.generator`` names one.

``diffusion`` is the engine's; ``dcgan`` is a GAN trained on the same images, which gets class and seed; ``classical``
augments the parent image; ``retrieved`` takes one of the retrieved real neighbours. What follows (gates, pools, figures)
is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch

from engine.classifier.augment import augment
from engine.classifier.inputs import to_unit
from engine.diffusion.codec import tensor_to_images
from engine.diffusion.dcgan import GanSampler
from engine.diffusion.synthesis import Synthesized
from engine.parts.generators.diffusion import DiffusionWorker
from engine.parts.generators.recipe import GeneratorRecipe
from engine.types import ImageArray, IntArray, strings


class Generator(Protocol):
    """A picklable recipe (a ChunkWorker) for images of rows of the conditioning."""

    def load(self) -> Callable[[IntArray], Synthesized]:
        """Open what it needs; the function maps row numbers (B,) to B images. The same row gives the same bytes."""
        ...


class DcganWorker(GeneratorRecipe):
    """Samples the GAN at each row's class and seed; parent and neighbours decide nothing."""

    def load(self) -> Callable[[IntArray], Synthesized]:
        """Open the generator; chunks are filled up, so that a sample's bytes do not depend on the others."""
        samples, _ = self.open()
        sampler = GanSampler.load(self.inputs["gan"], self.device)
        size = self.synthesis.batch_size
        dx_S, seed_S = samples.label_S.tolist(), samples.seed_S.tolist()

        def sample(rows: IntArray) -> Synthesized:
            filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
            made = sampler.sample([dx_S[i] for i in filled], [int(seed_S[i]) for i in filled])
            return Synthesized(images_BHWC=tensor_to_images(made)[: len(rows)], evaluations=1)

        return sample


class ClassicalWorker(GeneratorRecipe):
    """Augments each row's parent: right angles, small affine, colour, noise and blur, by the row's seed."""

    def load(self) -> Callable[[IntArray], Synthesized]:
        """Open the images."""
        samples, dataset = self.open()
        parent_S = dataset.positions(samples.parent_image_id)
        seed_S = samples.seed_S.tolist()

        def one(row: int) -> ImageArray:
            image = np.asarray(dataset.images_NHWC[dataset.rows[parent_S[row]]])[None]
            generator = torch.Generator().manual_seed(int(seed_S[row]))
            unit = augment(to_unit(image, "cpu"), "classical", generator, 1, slice(0, 1))
            changed: ImageArray = tensor_to_images(unit * 2 - 1)[0]
            return changed

        return lambda rows: Synthesized(images_BHWC=np.stack([one(int(row)) for row in rows]), evaluations=0)


class RetrievedWorker(GeneratorRecipe):
    """Takes one of each row's retrieved neighbours as it is, by the row's seed; the parent where there is none."""

    def load(self) -> Callable[[IntArray], Synthesized]:
        """Open the images."""
        samples, dataset = self.open()
        chosen = [
            _pick([name for name in names if name], parent, int(seed))
            for names, parent, seed in zip(
                samples.neighbour_ids_SK.tolist(),
                samples.parent_image_id.tolist(),
                samples.seed_S.tolist(),
                strict=True,
            )
        ]
        row_S = dataset.rows[dataset.positions(strings(chosen))]
        return lambda rows: Synthesized(
            images_BHWC=np.asarray(dataset.images_NHWC[row_S[rows]]), evaluations=0
        )


def _pick(names: list[str], parent: str, seed: int) -> str:
    return names[seed % len(names)] if names else parent


GENERATORS: Mapping[str, Callable[..., Generator]] = {
    "diffusion": DiffusionWorker,
    "dcgan": DcganWorker,
    "classical": ClassicalWorker,
    "retrieved": RetrievedWorker,
}
"""By the names of ``synthesis.generator``."""
