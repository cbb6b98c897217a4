"""Stage ``gan``: trains the conditional DCGAN that diffusion is compared with, on train images."""

from __future__ import annotations

from pathlib import Path

from engine.arms import ARMS
from engine.artifacts.generator_parts import GanFacts
from engine.classifier.batchnorm import globalize_batch_norm
from engine.config import Config, GanConfig
from engine.diffusion.dcgan import GanObjective, build_gan, save_gan
from engine.parts.context import StageContext, launch_fit
from engine.parts.dataset import image_source, open_dataset
from engine.stages import base
from engine.stages.outputs import File
from engine.training.loop import train
from engine.training.plan import TrainEnv, TrainPlan, balanced_weights, derive_seed

BETAS = (0.0, 0.99)
"""Adam without momentum, usual for GANs (Miyato et al. 2018)."""


class Params(base.Params):
    """How the GAN is trained."""

    gan: GanConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(gan=config.gan)


def run(context: StageContext, params: Params) -> None:
    """Fill ``gan.safetensors`` (the averaged generator) and ``gan.json`` {losses, classes, side}."""
    images, split = context.inputs["images"], context.inputs["split"]
    launch_fit(context, fit, images=images, split=split, config=params.gan)


def fit(
    env: TrainEnv,
    *,
    images: Path,
    split: Path,
    config: GanConfig,
    seed: int,
    checkpoint: Path,
    out: Path,
) -> None:
    """Train in this worker; the main one writes."""
    env.begin()
    dataset = open_dataset(images, split)
    rows = dataset.where("train")
    side = int(dataset.images_NHWC.shape[1])
    gan = build_gan(config, len(dataset.classes), side, derive_seed(seed, "gan", "init"))
    if env.world > 1:
        globalize_batch_norm(gan)
    source = image_source(dataset)
    labels = dataset.labels[rows]
    objective = GanObjective(
        gan=gan, images=lambda chosen: source(rows[chosen]), labels_N=labels, config=config, env=env
    )
    plan = TrainPlan.of(config, name="gan", seed=seed, ema=config.ema, betas=BETAS)
    log = train(gan, objective, balanced_weights(labels, config.balance), plan, env, checkpoint)
    if env.is_main:
        save_gan(gan, dataset.classes, side, config, out)
        GanFacts(losses=log.losses, classes=dataset.classes, side=side).write(out)


def _wanted(config: Config) -> bool:
    return "dcgan" in (config.synthesis.generator, *(ARMS[arm].generator for arm in config.loop.arms))


STAGE = base.Stage(
    name="gan",
    params=Params,
    run=run,
    inputs=("images", "split"),
    trains=True,
    saving="lower gan.batch_size",
    foundation=True,
    wanted=_wanted,
    units=lambda params, _sizes: params.gan.steps,
    files=(File("gan.safetensors", "the averaged generator"), GanFacts),
)
