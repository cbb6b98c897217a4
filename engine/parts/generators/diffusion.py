"""The diffusion generator: opens denoiser, codec, prompts and guides, and synthesizes chunks of the conditioning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.artifacts import classifier_fit, conditioning, decoded_images, generator_parts
from engine.artifacts.generator_parts import DenoiserFacts
from engine.classifier.weights import open_logits
from engine.config import SynthesisConfig
from engine.data.captions import captions
from engine.diffusion.codec import load_codec
from engine.diffusion.denoiser import load_denoiser
from engine.diffusion.synthesis import Guides, Student, Synthesized, Synthesizer
from engine.errors import DataError
from engine.parts.generators.recipe import GeneratorRecipe
from engine.parts.judge_folds import GUIDING_FOLD
from engine.parts.prompts import open_prompts
from engine.training.loop import autocast
from engine.training.plan import TrainEnv
from engine.types import FloatArray, IntArray


class DiffusionWorker(GeneratorRecipe):
    """Synthesizes chunks of conditioning rows: (B,) row numbers -> images, their NFE, and states of the first rows."""

    def load(self) -> Callable[[IntArray], Synthesized]:
        """Open the weights, the conditioning and the parents' images once."""
        env = TrainEnv(device=self.device, threads=self.threads, precision=self.precision)
        env.begin()
        config = self.synthesis
        synthesizer = open_synthesizer(self.inputs, config, self.pretrained, self.device)
        samples, dataset = self.open()
        levels_SLD = conditioning.read_levels(self.inputs["condition"])
        parent_S = dataset.positions(samples.parent_image_id)
        dx_S = samples.label_S.tolist()
        prompts = captions(dataset.table.take(parent_S).replace(dx=samples.label_S))
        strength_S = strengths(config, samples.difficulty_S)

        def at_strength(strength: float) -> Synthesizer:
            return replace(synthesizer, config=config.model_copy(update={"strength": strength}))

        def synthesize(rows: IntArray) -> Synthesized:
            parents = masks = None
            if config.edits:
                stored = dataset.rows[parent_S[rows]]
                parents, masks = (np.array(x[stored]) for x in (dataset.images_NHWC, dataset.masks_NHW))
            with autocast(env):
                return at_strength(float(strength_S[rows[0]])).synthesize(
                    levels_SLD[rows],
                    [prompts[i] for i in rows],
                    samples.seed_S[rows],
                    parents,
                    labels=[dx_S[i] for i in rows],
                    masks_BHW=masks,
                    states=config.states if 0 in rows else 0,
                )

        return synthesize


def strengths(config: SynthesisConfig, difficulty_S: FloatArray) -> FloatArray:
    """Return the strength of each sample, (S,); those of one batch must be equal."""
    return np.array([config.strength_at(float(value)) for value in difficulty_S], dtype=np.float64)


def open_synthesizer(
    inputs: Mapping[str, Path], config: SynthesisConfig, pretrained: str | None, device: str
) -> Synthesizer:
    """Return the synthesizer of finished ``images``, ``denoiser`` (or ``distill``), ``vae`` and ``embedder`` folders.

    Its latents have the side of the training's: image side / VAE downsampling. The U-Net's ``sample_size`` is no guide,
    a pre-trained one has that of the images it came from.
    """
    weights = inputs["distill"] if "distill" in inputs else inputs["denoiser"]
    facts = generator_parts.read_denoiser(weights)
    model = load_denoiser(weights, device)
    codec = load_codec(inputs["vae"], device, config.vae_chunk)
    images_NHWC = decoded_images.open_images(inputs["images"])
    side = int(images_NHWC.shape[1]) // codec.downsample
    return Synthesizer(
        model=model,
        codec=codec,
        prompts=open_prompts(inputs["embedder"], pretrained, device),
        config=config,
        scheduler_config=facts.scheduler,
        fuse=facts.fuse,
        beta=facts.beta if config.beta is None else config.beta,
        student=_student(facts),
        shape=(int(model.unet.config.in_channels), side, side),
        device=device,
        guides=_guides(inputs, config, device) if config.steers else None,
    )


def _student(facts: DenoiserFacts) -> Student | None:
    if facts.few_steps is None:
        return None
    return Student(steps=facts.few_steps, visited=facts.visited, fresh=facts.fresh or 0.0)


def _guides(inputs: Mapping[str, Path], config: SynthesisConfig, device: str) -> Guides:
    """The judge's guiding fold (which the gates then leave out), and the classifier that is to be made to err."""
    judge, classes = open_logits(inputs["judge"] / GUIDING_FOLD, device)
    opponent = None
    if config.adversarial_scale > 0:
        opponent, seen = open_logits(inputs["classifier"] / classifier_fit.WEIGHTS, device)
        if seen != classes:
            raise DataError(
                f"the classifier knows {', '.join(seen)}, the judge {', '.join(classes)}; train both on one data set"
            )
    return Guides(classes=classes, judge=judge, opponent=opponent)
