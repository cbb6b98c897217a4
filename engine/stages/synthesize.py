"""Stage ``synthesize``: one image for every row of the conditioning, in fixed chunks, the same bytes anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from engine.arms import ARMS, ENGINE
from engine.artifacts import conditioning, decoded_images, synthesized, synthetic
from engine.artifacts.synthesized import SynthesisFacts
from engine.config import Config, DenoiserConfig, EmbedderConfig, SynthesisConfig, VaeConfig, parts_sampled
from engine.config.synthesis_section import LARGEST_VAE_CHUNK
from engine.diffusion.samplers.few_step import FEW_STEP
from engine.diffusion.synthesis import weights_digest
from engine.parts.context import StageContext
from engine.parts.generators.diffusion import strengths
from engine.parts.generators.table import GENERATORS
from engine.parts.sample_pictures import write_pictures
from engine.report.sheets import draw_states
from engine.stages import base
from engine.stages.outputs import File
from engine.types import FloatArray, IntArray

DRAWN = 6
"""Samples whose states are drawn."""
TEACHING = frozenset({"labels", "label_temperature", "label_share", "weight"})
"""Keys of the section that say how images train: the pool stage reads them, so another label makes no image again."""


class Params(base.Params):
    """How samples are made, and the settings of the parts they are made with."""

    unread: ClassVar[Mapping[str, frozenset[str]]] = {"synthesis": TEACHING}
    optional: ClassVar[frozenset[str]] = frozenset(
        {"vae_chunk", "denoiser.train", "denoiser.lora_rank", "denoiser.distill"}
    )

    synthesis: SynthesisConfig
    denoiser: DenoiserConfig
    embedder: EmbedderConfig
    vae: VaeConfig
    vae_chunk: int | None = None
    """Images the VAE decodes at a time where that is less than 32. Such batches were once decoded in chunks of 32, so their
    images are not those of a key without it."""

    @classmethod
    def of(cls, config: Config, source: str = ENGINE) -> Params:
        """Return how the images of one arm are made.

        Adversarial guidance is a way of seeking hard cases, so images of random parents are made without it.
        """
        arm = ARMS[source]
        section = config.synthesis
        generator = arm.generator or section.generator
        pushes = generator == "diffusion" and arm.parents == "mined"
        changes = {"generator": generator} | ({} if pushes else {"adversarial_scale": 0.0})
        return cls(
            synthesis=section.model_copy(update=changes),
            denoiser=config.denoiser,
            embedder=config.embedder,
            vae=config.vae,
            vae_chunk=_vae_chunk(config) if generator == "diffusion" else None,
        )

    @property
    def guided(self) -> bool:
        """Whether gradients of the judge's guiding fold steer these samples."""
        return self.synthesis.generator == "diffusion" and self.synthesis.steers

    @property
    def few_steps(self) -> int | None:
        """The evaluations of the denoiser's student; None where no student samples."""
        distill = self.denoiser.distill if self.synthesis.generator == "diffusion" else None
        return None if distill is None else distill.steps

    @property
    def sampled(self) -> tuple[str, ...]:
        """The trained parts of the generator, the one whose weights make the images last."""
        return parts_sampled(self.synthesis.generator, self.denoiser)

    @property
    def parts(self) -> tuple[str, ...]:
        """The finished stages it samples with, besides images, split and the conditioning."""
        needed = [*self.sampled, *(["embedder"] if self.synthesis.generator == "diffusion" else [])]
        needed += ["judge"] if self.guided else []
        needed += ["classifier"] if self.guided and self.synthesis.adversarial_scale > 0 else []
        return tuple(needed)


def _vae_chunk(config: Config) -> int | None:
    """Return the VAE's chunk where it is not the largest; None for models of pixels, which have no VAE to run."""
    chunk = config.synthesis.vae_chunk
    return chunk if config.vae.kind == "kl" and chunk < LARGEST_VAE_CHUNK else None


def run(context: StageContext, params: Params) -> None:
    """Fill ``images.npy`` (S, H, W, 3), ``synthetic/<sample_id>.png``, ``synthesis.json``; ``states.png`` if asked.

    synthesis.json: nfe (the denoiser's evaluations per sample, measured), sampler, steps, checkpoint (digest).
    """
    config = params.synthesis
    worker = GENERATORS[config.generator](
        inputs=dict(context.inputs),
        synthesis=config,
        pretrained=params.denoiser.pretrained,
        device=context.device,
        threads=context.threads,
        precision=context.precision,
    )
    samples = conditioning.read_samples(context.inputs["condition"])
    sample_id = samples.sample_id
    chunks = batches(strengths(config, samples.difficulty_S), config.batch_size)
    images = None
    evaluations = 0
    for rows_B, made in zip(chunks, context.map(worker, chunks, "synthesize"), strict=True):
        if images is None:
            images = synthesized.allocate((len(sample_id), *made.images_BHWC.shape[1:]), context.out)
        images[rows_B] = made.images_BHWC
        evaluations += made.evaluations * len(made.images_BHWC)
        if made.states:
            draw_states(made.states, context.out / synthesized.STATES, DRAWN)
    if images is None:
        side = int(decoded_images.open_images(context.inputs["images"]).shape[1])
        synthesized.write(np.zeros((0, side, side, 3), dtype=np.uint8), context.out)
    else:
        images.flush()  # or another node that reads the file sees zeros
    write_pictures(context, sample_id.tolist())
    weights = [context.inputs[part] for part in params.sampled]
    facts = SynthesisFacts(
        generator=config.generator,
        nfe=evaluations / len(sample_id) if len(sample_id) else None,
        sampler=config.sampler if params.few_steps is None else FEW_STEP,
        steps=config.steps if params.few_steps is None else params.few_steps,
        checkpoint=weights_digest(weights[-1]) if weights else "",
    )
    facts.write(context.out)


def batches(strength_S: FloatArray, size: int) -> list[IntArray]:
    """Return the rows of S by batches of at most ``size`` samples of one strength, strongest first."""
    found: list[IntArray] = []
    for strength in np.unique(strength_S)[::-1]:
        rows = np.flatnonzero(strength_S == strength).astype(np.int64)
        found += [rows[start : start + size] for start in range(0, len(rows), size)]
    return found


STAGE = base.Stage(
    name="synthesize",
    version=3,
    params=Params,
    run=run,
    inputs=("images", "split", "condition"),
    optional=("denoiser", "distill", "vae", "gan", "embedder", "judge", "classifier"),
    maps=True,
    units=lambda params, sizes: -(-sizes.samples // params.synthesis.batch_size),
    files=(
        synthesized.IMAGES,
        File(synthetic.picture("<sample_id>"), "the same images"),
        SynthesisFacts,
        File(synthesized.STATES, "the way from noise to image, with `synthesis.states`"),
    ),
)
