"""Stage ``denoiser``: train the U-Net and its lesion adapters on the latents, conditioned on embedding and prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from engine.artifacts.generator_parts import DenoiserFacts
from engine.config import Config, DenoiserConfig, EmbedderConfig
from engine.diffusion.adapter import gammas
from engine.diffusion.denoiser import build_denoiser, save_denoiser
from engine.diffusion.keep_best import KeepBest
from engine.diffusion.pretrained import prepare, remade
from engine.diffusion.schedule import alphas_bar, scheduler_config
from engine.diffusion.train import DenoiserObjective, validation_loss
from engine.diffusion.trained_part import choose_trained, merge
from engine.parts.context import StageContext, launch_fit
from engine.parts.denoiser_data import open_denoiser_images
from engine.parts.own_images import sees_unlabelled
from engine.stages import base
from engine.stages.outputs import File, Folder
from engine.training.loop import TrainLog, train
from engine.training.plan import TrainEnv, TrainPlan, derive_seed


class Params(base.GeneratorParams):
    """How the denoiser is made and how levels are fused for it."""

    unread: ClassVar[Mapping[str, frozenset[str]]] = {"denoiser": frozenset({"distill"})}
    optional: ClassVar[frozenset[str]] = base.GeneratorParams.optional | {
        "denoiser.train",
        "denoiser.lora_rank",
    }

    denoiser: DenoiserConfig
    embedder: EmbedderConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(denoiser=config.denoiser, embedder=config.embedder, unlabelled=sees_unlabelled(config))


def run(context: StageContext, params: Params) -> None:
    """Fill ``unet/``, ``adapter.safetensors`` and ``denoiser.json``."""
    launch_fit(
        context,
        fit,
        inputs=dict(context.inputs),
        unlabelled=params.unlabelled,
        config=params.denoiser,
        fuse=params.embedder.fuse,
    )


def fit(
    env: TrainEnv,
    *,
    inputs: dict[str, Path],
    unlabelled: bool,
    config: DenoiserConfig,
    fuse: str,
    seed: int,
    checkpoint: Path,
    out: Path,
) -> None:
    """Train in this worker; the main one measures the validation loss and writes."""
    env.begin()
    images = open_denoiser_images(inputs, config, unlabelled=unlabelled, device=env.device)
    data = images.data
    channels, side = data.latents_N2chw.shape[2:4]
    width = data.levels_NLD.shape[2]
    model = build_denoiser(
        config, channels, side, images.prompt_width, width, derive_seed(seed, "denoiser", "init")
    )
    choose_trained(model, config, derive_seed(seed, "denoiser", "lora"))
    noise = scheduler_config(config.schedule, config.prediction)
    objective = DenoiserObjective(
        model=model, data=data, config=config, fuse=fuse, abar_T=alphas_bar(noise), env=env
    )
    best = KeepBest(objective, images.aside, seed, moments(config), checkpoint)
    prepare(model, config, env)
    log = train(model, objective, images.weights_N, _plan(config, seed), env, checkpoint, best)
    if env.is_main:
        best.restore()
        merge(model)
        model.eval()
        save_denoiser(model, out)
        _write_facts(out, best, log, noise)


def moments(config: DenoiserConfig) -> tuple[int, ...]:
    """Return after which steps the held-out loss is looked at, evenly spaced, the last one among them."""
    count = min(config.validations, config.steps)
    return tuple(round(config.steps * (k + 1) / count) for k in range(count))


def _plan(config: DenoiserConfig, seed: int) -> TrainPlan:
    return TrainPlan.of(config, name="denoiser", seed=seed, ema=config.ema, accumulate=config.accumulate)


def _write_facts(out: Path, best: KeepBest, log: TrainLog, noise: dict[str, Any]) -> None:
    """``val_loss_null_lesion`` minus ``val_loss`` is what the adapter knows of a held-out lesion."""
    objective = best.objective
    facts = DenoiserFacts(
        pretrained=objective.config.pretrained,
        remade=tuple(remade(objective.model.unet)),
        losses=tuple(log.losses),
        val_loss=validation_loss(objective, best.check, best.seed),
        val_loss_null_lesion=validation_loss(objective, best.check, best.seed, without_lesion=True),
        val_curve=tuple(sorted(best.curve.items())),
        kept_step=best.kept,
        held_out=len(best.check),
        gammas=gammas(objective.model.adapters),
        parameters=sum(p.numel() for p in objective.model.parameters()),
        scheduler=noise,
        fuse=objective.fuse,
        beta=objective.config.beta,
    )
    facts.write(out)


STAGE = base.Stage(
    name="denoiser",
    version=3,
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "index", "latents"),
    trains=True,
    saving="lower denoiser.batch_size, raise denoiser.accumulate, set denoiser.gradient_checkpointing=true, or (with a "
    "pretrained U-Net) denoiser.train=adapter",
    foundation=True,
    wanted=lambda config: config.synthesis.generator == "diffusion",
    units=lambda params, _sizes: params.denoiser.steps,
    files=(
        Folder("unet", "a plain diffusers UNet2DConditionModel"),
        File("adapter.safetensors", "the lesion adapters"),
        DenoiserFacts,
    ),
)
