"""What maps over images hold: the weights they run, and one chunk on its way through them.

Shape legend: B samples of a batch, P prompt tokens, W prompt width, T lesion tokens, D lesion width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.classifier.inputs import IMAGENET_MEAN, IMAGENET_STD
from engine.diffusion.codec import CHUNK, coding, posterior_mean
from engine.diffusion.guidance import Guidance
from engine.diffusion.steering import Steering
from engine.diffusion.synthesis import guidance_of
from engine.planning import architectures
from engine.planning.live_memory import autocast, like_a_gpu, peak_of, weights_of
from engine.planning.one_training import without_gradients
from engine.planning.setting import Need, Setting, largest
from engine.planning.trainings import FLOAT, classifier, guided, guided_timestep
from engine.retrieval.clip import fold_quick_gelu
from engine.retrieval.embedding import DTYPES
from engine.training.layout import memory_format

LATENTS_KEPT = 4
"""Latents that a sampler holds besides the denoiser's: noise, the current one, two estimates of second-order samplers."""


def latents(setting: Setting) -> Need | None:
    """Return what stage ``latents`` needs: the encoder on 32 images, and all latents twice when they are put together."""
    model = architectures.autoencoder(setting)
    if model is None:
        return None
    all_latents = setting.data.train * 2 * int(torch.Size(setting.latent).numel()) * FLOAT
    with coding(setting.env):
        chunk = without_gradients(lambda: posterior_mean(model, _pixels(CHUNK, setting.side)))
    held = {"weights": weights_of(model)}
    if setting.gpu:
        return largest([("in a chunk", held | {"activations": chunk})], host=[2 * all_latents], gpu=True)
    moments = [
        ("in a chunk", held | {"activations": chunk, "data": all_latents}),
        ("while writing", held | {"data": 2 * all_latents}),
    ]
    return largest(moments, host=[], gpu=False)


def index(setting: Setting) -> Need:
    """Return what stage ``index`` needs: the image tower on 32 images, and every train image's levels."""
    dtype = DTYPES[setting.precision]
    tower = architectures.clip(setting).vision_model
    fold_quick_gelu(tower)
    tower = tower.to(dtype)
    config = setting.config.embedder
    side = int(tower.config.image_size)
    chunk = without_gradients(
        lambda: tower(pixel_values=_pixels(CHUNK, side).to(dtype), output_hidden_states=True).hidden_states
    )
    levels = setting.data.train * config.levels * architectures.lesion_width(setting) * FLOAT
    moments = [("in a chunk", {"weights": weights_of(tower), "activations": chunk})]
    return largest(moments, host=[2 * levels], gpu=setting.gpu)


def predict(setting: Setting) -> Need:
    """Return what a map of the classifier over images needs, 32 at a time."""
    model = classifier(setting, setting.config.classifier).eval()
    chunk = without_gradients(lambda: model(_pixels(CHUNK, setting.side, laid_out=True)))
    return largest(
        [("in a chunk", {"weights": weights_of(model), "activations": chunk})], host=[], gpu=setting.gpu
    )


def synthesize(setting: Setting) -> Need | None:
    """Return what stage ``synthesize`` needs with the diffusion generator; None with another.

    Denoiser, VAE, prompt encoder and the classifiers that guide stay loaded. Beside them is held the most of these: the
    denoiser on all branches of guidance, the decoder on ``vae_chunk`` latents, a gradient through decoder and classifiers.
    """
    config = setting.config.synthesis
    if config.generator != "diffusion":
        return None
    model, vae = architectures.denoiser(setting), architectures.autoencoder(setting)
    networks: list[nn.Module] = [model, architectures.text_tower(setting), *([] if vae is None else [vae])]
    guides = _guides(setting)
    for network in [*networks, *guides]:
        network.eval().requires_grad_(False)
        if setting.gpu:
            like_a_gpu(network)
    always = {
        "weights": weights_of(*networks, *guides),
        "latents": LATENTS_KEPT * config.batch_size * int(torch.Size(setting.latent).numel()) * FLOAT,
    }
    with autocast(setting.precision):
        moments = [("in a sampling step", without_gradients(lambda: _sampling_step(setting, model)))]
        if vae is not None:
            moments.append(("while decoding", without_gradients(lambda: _decode(setting, vae))))
            if config.edits:
                images = without_gradients(
                    lambda: posterior_mean(vae, _pixels(config.vae_chunk, setting.side))
                )
                moments.append(("while encoding parents", images))
        if guides:
            moments.append(("in a gradient of guidance", peak_of(lambda: _steer(setting, vae, guides))))
    return largest(
        [(name, always | {"activations": held}) for name, held in moments], host=[], gpu=setting.gpu
    )


def _sampling_step(setting: Setting, model: Any) -> Tensor:
    config, count = setting.config.synthesis, setting.config.synthesis.batch_size
    guidance = guidance_of(config) if setting.config.denoiser.distill is None else Guidance()
    step = guided(setting, model, guidance, count)
    return step(torch.empty(count, *setting.latent), guided_timestep(guidance))


def _decode(setting: Setting, vae: Any) -> Tensor:
    chunk = torch.empty(setting.config.synthesis.vae_chunk, *setting.latent)
    decoded: Tensor = vae.decode(chunk).sample.float()
    return ((decoded + 1.0) * 127.5).round().clamp(0, 255)


def _guides(setting: Setting) -> list[nn.Module]:
    """The judge's fold and the classifier whose gradients guide, as far as the config asks for them."""
    config = setting.config
    if not config.synthesis.steers:
        return []
    judge = classifier(setting, config.judge)
    if config.synthesis.adversarial_scale == 0:
        return [judge]
    return [judge, classifier(setting, config.classifier)]


def _steer(setting: Setting, vae: Any, guides: list[nn.Module]) -> Tensor:
    config, count = setting.config.synthesis, setting.config.synthesis.batch_size
    mean, std = (torch.empty(1, len(values), 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    logits = [lambda pixels, guide=guide: guide(((pixels + 1) / 2 - mean) / std) for guide in guides]
    steering = Steering(
        decode=lambda latent: latent if vae is None else vae.decode(latent).sample,
        label_B=torch.zeros(count, dtype=torch.long),
        judge=logits[0],
        opponent=logits[1] if len(logits) > 1 else None,
        classifier_scale=config.classifier_scale,
        adversarial_scale=config.adversarial_scale,
        kind=config.adversarial_objective,
        keep=config.adversarial_keep,
    )
    start = torch.empty(count, *setting.latent, requires_grad=True)
    return torch.autograd.grad(steering.potential(start).sum(), start)[0]


def _pixels(count: int, side: int, *, laid_out: bool = False) -> Tensor:
    pixels = torch.empty(count, 3, side, side)
    return pixels.contiguous(memory_format=memory_format("cpu")) if laid_out else pixels
