"""The trainings of a run, each with the network and the loss of its stage: what they hold when they hold most.

Shape legend: B examples of a piece, c h w a latent, P prompt tokens, W prompt width, L levels, D lesion width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.classifier.model import bare_model, choose_stem
from engine.classifier.small_maps import shorten_small_maps
from engine.classifier.targets import batch_loss
from engine.config import ClassifierConfig, JudgeConfig
from engine.diffusion.attention import choose_attention
from engine.diffusion.codec import CHUNK, posterior_mean
from engine.diffusion.dcgan import build_gan, hinge_losses
from engine.diffusion.guidance import Guidance, GuidedDenoiser
from engine.diffusion.pretrained import prepare
from engine.diffusion.schedule import TRAIN_STEPS, add_noise
from engine.diffusion.synthesis import guidance_of
from engine.diffusion.tokens import fuse_levels, slerp
from engine.diffusion.train import weighted_error
from engine.diffusion.trained_part import choose_trained
from engine.diffusion.vae_loss import split_moments, vae_loss
from engine.planning import architectures
from engine.planning.live_memory import bytes_of, faked, real_tensors, weights_of
from engine.planning.one_training import Training
from engine.planning.setting import Need, Setting, largest
from engine.training.layout import memory_format

FLOAT = 4
NEIGHBOURS = 5
"""Neighbours per train image that the denoiser keeps (``same_class_neighbours``), int64."""


def denoiser(setting: Setting) -> Need:
    """Return what stage ``denoiser`` needs (``engine.stages.denoiser.fit``).

    Beside the training lie the prompt encoder and the states of all captions. The held-out loss is of batches of 32.
    """
    config = setting.config.denoiser
    model = architectures.denoiser(setting)
    choose_trained(model, config, seed=0)
    prepare_plainly(model, config, setting)

    def held_out() -> Tensor:
        return denoiser_loss(setting, model, CHUNK)

    return Training(
        model=model.train(),
        loss=lambda: denoiser_loss(setting, model, setting.piece(config)).mean(),
        pieces=setting.accumulate(config),
        averaged=config.ema > 0,
        optimizer=config.optimizer,
        data=prompts_held(setting),
        host=images_held(setting),
        look=held_out if config.validations else None,
        after=held_out,
    ).need(setting)


def distill(setting: Setting) -> Need | None:
    """Return what stage ``distill`` needs (``engine.stages.distill.fit``), its teacher beside it; None without a student."""
    config = setting.config.denoiser
    if config.distill is None:
        return None
    model, teacher = architectures.denoiser(setting), architectures.denoiser(setting)
    teacher.eval().requires_grad_(False)
    choose_trained(model, config, seed=0)
    prepare_plainly(model, config, setting)
    choose_attention(teacher, setting.env)
    guidance = guidance_of(setting.config.synthesis)
    count = setting.piece(config)

    def loss() -> Tensor:
        noisy, steps = torch.empty(count, *setting.latent), torch.empty(count, dtype=torch.long)
        with torch.no_grad():
            wanted = guided(setting, teacher, guidance, count)(noisy, guided_timestep(guidance))
        student = guided(setting, model, Guidance(), count)
        estimate = model(noisy, steps, student.prompt_BPW, student.lesion_BTD, config.beta)
        error: Tensor = (estimate - wanted) ** 2
        return error.mean()

    return Training(
        model=model.train(),
        loss=loss,
        pieces=setting.accumulate(config),
        averaged=config.ema > 0,
        optimizer=config.optimizer,
        data=weights_of(teacher) + prompts_held(setting),
        host=images_held(setting),
        after=lambda: guided(setting, teacher, guidance, CHUNK)(
            torch.empty(CHUNK, *setting.latent), guided_timestep(guidance)
        ),
    ).need(setting)


def prompts_held(setting: Setting) -> int:
    """Return the bytes of the prompt encoder and of the states of all captions, on the device."""
    tokens, width = architectures.prompt_shape(setting)
    states = (setting.data.captions + 1) * tokens * width * FLOAT
    return weights_of(architectures.text_tower(setting)) + states


def images_held(setting: Setting) -> int:
    """Return the bytes of what is known of each train image, in this machine's memory: its embedding and its neighbours."""
    levels = setting.config.embedder.levels * architectures.lesion_width(setting)
    return setting.data.train * (levels * FLOAT + NEIGHBOURS * 8)


def guided_timestep(guidance: Guidance) -> float:
    """Return a timestep at which guidance acts, so that all its branches run."""
    return TRAIN_STEPS * sum(guidance.interval) / 2


def guided(setting: Setting, model: Any, guidance: Guidance, count: int) -> GuidedDenoiser:
    """Return a denoiser under conditions of the shapes of a run's."""
    prompt = torch.empty(count, *architectures.prompt_shape(setting))
    config = setting.config
    return GuidedDenoiser(
        model=model,
        guidance=guidance,
        prompt_BPW=prompt,
        null_prompt_PW=torch.empty_like(prompt[0]),
        lesion_BTD=torch.empty(count, architectures.lesion_tokens(setting), model.null_D.shape[0]),
        beta=config.denoiser.beta if config.synthesis.beta is None else config.synthesis.beta,
    )


def denoiser_loss(setting: Setting, model: Any, count: int) -> Tensor:
    """Return the loss (B,) of ``count`` latents, as ``DenoiserObjective.loss`` computes it."""
    config = setting.config.denoiser
    clean = torch.empty(count, *setting.latent)
    noise, abar_B, drop_B = torch.empty_like(clean), torch.empty(count), torch.empty(count, dtype=torch.bool)
    own, other = (torch.empty(count, setting.config.embedder.levels, model.null_D.shape[0]) for _ in range(2))
    lesion = fuse_levels(slerp(own, other, torch.empty(count)), setting.config.embedder.fuse)
    lesion = model.drop_lesion(lesion, drop_B)
    prompt = torch.empty(count, *architectures.prompt_shape(setting))
    prompt = torch.where(drop_B[:, None, None], torch.zeros_like(prompt[0]), prompt)
    steps = torch.empty(count, dtype=torch.long)
    output = model(add_noise(clean, noise, abar_B), steps, prompt, lesion, config.beta)
    return weighted_error(output, clean, noise, abar_B, config)


def vae(setting: Setting) -> Need | None:
    """Return what stage ``vae`` needs; None where no VAE is trained. Its figures are of batches of 32 images."""
    config = setting.config.vae
    model = architectures.autoencoder(setting)
    if model is None:
        return None
    prepare_plainly(model, config, setting)

    def loss() -> Tensor:
        pixels = torch.empty(setting.piece(config), 3, setting.side, setting.side)
        mean, logvar = split_moments(model.encode(pixels).latent_dist.parameters)
        latent = mean + (0.5 * logvar).exp() * torch.empty_like(mean) if config.sample_posterior else mean
        recon = model.decode(latent).sample
        return vae_loss(pixels, recon, mean, logvar, config.loss.model_dump())

    def figures() -> None:
        pixels = torch.empty(CHUNK, 3, setting.side, setting.side)
        model.decode(posterior_mean(model, pixels))

    return Training(
        model=model.train(),
        loss=loss,
        pieces=setting.accumulate(config),
        optimizer=config.optimizer,
        after=figures,
        copied=relaid_share(model),
    ).need(setting)


def prepare_plainly(model: Any, config: Any, setting: Setting) -> None:
    """Make a network ready as for its training; compiling changes no plan (it may lower the peak)."""
    prepare(model, config.model_copy(update={"compile": False}), setting.env)


def gan(setting: Setting) -> Need:
    """Return what stage ``gan`` needs: generator and discriminator learn in one step, on fakes and reals together."""
    config = setting.config.gan
    count, side = setting.piece(config), setting.side
    model = build_gan(config, setting.data.classes, side, seed=0)

    def loss() -> Tensor:
        real = torch.empty(count, 3, side, side)
        label = torch.empty(count, dtype=torch.long)
        return hinge_losses(model, real, torch.empty(count, config.latent), label)

    return Training(model=model.train(), loss=loss, averaged=config.ema > 0).need(setting)


def fit(setting: Setting, config: ClassifierConfig | JudgeConfig) -> Need:
    """Return what a fit of the classifier or of one fold of the judge needs.

    Raises:
        ConfigError: the model cannot be built, as in the stage.
    """
    model = classifier(setting, config)
    if not setting.gpu:
        shorten_small_maps(model)
    count, layout = setting.piece(config), memory_format("cpu")

    def loss() -> Tensor:
        unit = torch.empty(count, 3, setting.side, setting.side)
        pixels = torch.empty_like(unit).contiguous(memory_format=layout)
        label = torch.empty(count, dtype=torch.long)
        return batch_loss(model(pixels).float(), label, config.label_smoothing, None, None)

    copied = relaid_share(model)
    return Training(model=model.train(), loss=loss, averaged=config.ema > 0, copied=copied).need(setting)


def relaid_share(model: nn.Module) -> float:
    """Return the share of a model's bytes that a checkpoint copies, as they lie in memory otherwise than in a file."""
    state, layout = list(model.state_dict().values()), memory_format("cpu")
    relaid = [v for v in state if v.ndim == 4 and not v.contiguous(memory_format=layout).is_contiguous()]
    return bytes_of(relaid) / max(1, bytes_of(state))


def classifier(setting: Setting, config: ClassifierConfig | JudgeConfig) -> nn.Module:
    """Return the network of a classifier or judge, with as many outputs as the data has classes."""
    stem = choose_stem(setting.side, config.pretrained, config.small_stem)
    with real_tensors(), torch.device("meta"):
        model = bare_model(config.model, max(2, setting.data.classes), setting.side, stem)
    return faked(model)


def embedder(setting: Setting) -> Need:
    """Return what stage ``embedder`` needs: the training of the small CLIP, or a copy of a pre-trained one (on the CPU)."""
    config = setting.config.embedder
    model = architectures.clip(setting)
    if config.pretrained is not None:
        held = weights_of(model)
        return largest(
            [("while copying", {} if setting.gpu else {"weights": held})],
            host=[held] if setting.gpu else [],
            gpu=setting.gpu,
        )
    from engine.retrieval.contrastive import caption_loss, view_loss
    from engine.retrieval.tokenizer import SPARE
    from engine.retrieval.train import Recipe

    recipe, count = Recipe(), setting.piece(config)

    def features(images: Tensor) -> Tensor:
        projected: Tensor = model.visual_projection(model.vision_model(pixel_values=images).pooler_output)
        return projected

    def loss() -> Tensor:
        views = [features(torch.empty(count, 3, setting.side, setting.side)) for _ in range(2)]
        ids = torch.zeros(count, setting.data.tokens - SPARE, dtype=torch.long)  # the longest caption
        text_BD = model.text_projection(model.text_model(input_ids=ids).pooler_output)
        key_B, group_R = torch.empty(count, dtype=torch.long), torch.empty(2 * count, dtype=torch.long)
        image_RD = torch.cat(views).float()
        total = caption_loss(image_RD, text_BD.float(), key_B, model.logit_scale.exp())
        return total + recipe.view_weight * view_loss(image_RD, group_R, recipe.view_temperature)

    return Training(model=model.train(), loss=loss).need(setting)
