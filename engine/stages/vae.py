"""Stage ``vae``: train the autoencoder on train images, measure its latents and its reconstructions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.artifacts.generator_parts import VaeFacts
from engine.config import Config, VaeConfig
from engine.diffusion.codec import MODEL, LatentCodec
from engine.diffusion.holdout import held_out
from engine.diffusion.linear_start import most_images, start_linear, starts_linear
from engine.diffusion.pretrained import prepare, remade
from engine.diffusion.vae import build_vae
from engine.diffusion.vae_train import (
    ImageSource,
    VaeObjective,
    evenly_spaced,
    measure_latents,
    reconstruction_figures,
)
from engine.parts.context import StageContext, launch_fit
from engine.parts.dataset import image_source, open_dataset
from engine.parts.own_images import sees_unlabelled
from engine.stages import base
from engine.stages.outputs import Folder
from engine.training.loop import TrainLog, train
from engine.training.plan import TrainEnv, TrainPlan, derive_seed
from engine.types import IntArray


class Params(base.GeneratorParams):
    """How the autoencoder is made."""

    vae: VaeConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(vae=config.vae, unlabelled=sees_unlabelled(config))


def run(context: StageContext, params: Params) -> None:
    """Fill ``vae/`` and ``vae.json``; with ``kind: identity`` nothing is trained and only the JSON is written."""
    images, split = context.inputs["images"], context.inputs["split"]
    launch_fit(context, fit, images=images, split=split, unlabelled=params.unlabelled, config=params.vae)


def fit(
    env: TrainEnv,
    *,
    images: Path,
    split: Path,
    unlabelled: bool,
    config: VaeConfig,
    seed: int,
    checkpoint: Path,
    out: Path,
) -> None:
    """Train in this worker; the main one measures and writes."""
    dataset = open_dataset(images, split, unlabelled=unlabelled)
    source = image_source(dataset)
    train_rows = dataset.learned()
    aside = held_out(dataset.group_N[train_rows])
    learn, check = train_rows[~aside], train_rows[aside] if aside.any() else train_rows
    side = int(dataset.images_NHWC.shape[1])
    vae, log = None, TrainLog(losses=[], resumed_from=0)
    if config.kind == "kl":
        vae = build_vae(config, side, derive_seed(seed, "vae", "init"))
        if starts_linear(config):
            start_linear(vae, source(evenly_spaced(learn, most_images(side))))
        prepare(vae, config, env)
        objective = VaeObjective(vae=vae, images=lambda rows: source(learn[rows]), config=config, env=env)
        log = train(vae, objective, np.ones(len(learn)), _plan(config, seed), env, checkpoint)
        vae.eval().requires_grad_(False)
    if env.is_main:
        _write(out, config, vae, source, learn, check, log, env.device)


def how_started(config: VaeConfig) -> str | None:
    """Return linear, random or pretrained; None where nothing is trained."""
    if config.kind == "identity":
        return None
    if config.pretrained is not None:
        return "pretrained"
    return "linear" if starts_linear(config) else "random"


def _plan(config: VaeConfig, seed: int) -> TrainPlan:
    return TrainPlan.of(config, name="vae", seed=seed, accumulate=config.accumulate)


def _write(
    out: Path,
    config: VaeConfig,
    vae: Any,
    source: ImageSource,
    learn: IntArray,
    check: IntArray,
    log: TrainLog,
    device: str,
) -> None:
    mean, scale = measure_latents(vae, source, learn, device)
    codec = LatentCodec(vae=vae, mean=mean, scale=scale, device=device)
    figures = reconstruction_figures(codec, source, check)
    if vae is not None:
        vae.register_to_config(scaling_factor=scale, latents_mean=list(mean), latents_std=[1.0] * len(mean))
        vae.to(memory_format=torch.contiguous_format)  # as safetensors takes it
        vae.save_pretrained(out / MODEL, safe_serialization=True)
    facts = VaeFacts(
        kind=config.kind,
        pretrained=config.pretrained,
        remade=tuple(remade(vae)) if vae is not None else (),
        start=how_started(config),
        scaling_factor=scale,
        latents_mean=mean,
        **figures,
        held_out=len(check),
        losses=tuple(log.losses),
    )
    facts.write(out)


STAGE = base.Stage(
    name="vae",
    version=4,
    params=Params,
    run=run,
    inputs=("images", "split"),
    trains=True,
    saving="lower vae.batch_size, raise vae.accumulate or set vae.gradient_checkpointing=true",
    foundation=True,
    wanted=lambda config: config.synthesis.generator == "diffusion",
    units=lambda params, _sizes: 0 if params.vae.kind == "identity" else params.vae.steps,
    files=(
        Folder(MODEL, "AutoencoderKL, Hugging Face layout; none with `kind: identity`"),
        VaeFacts,
    ),
)
