"""Between uint8 images and the scaled latents that are diffused: a trained VAE, or pixels themselves.

Shape legend: B images, H height, W width, c latent channels, h w latent side.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.artifacts import generator_parts
from engine.diffusion.pretrained import PLAIN_LOADING
from engine.training.layout import lay_out
from engine.training.loop import autocast
from engine.training.plan import TrainEnv
from engine.types import ImageArray

MODEL = "vae"
"""Folder of the autoencoder in the stage's folder, in the Hugging Face layout."""
CHUNK = 32
"""Images encoded or decoded at a time unless a use asks for fewer; fixed per use, as float32 results depend on it."""


def images_to_tensor(images_BHWC: ImageArray, device: str = "cpu") -> Tensor:
    """Return uint8 RGB images as float32 (B, 3, H, W) in [-1, 1]."""
    values = torch.from_numpy(np.ascontiguousarray(images_BHWC)).to(device)
    return values.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def flipped(pixels_BCHW: Tensor, flip_B2: Tensor) -> Tensor:
    """Return images mirrored where ``flip_B2[:, 0]`` is true, and upside down where ``flip_B2[:, 1]`` is."""
    across, down = (flip_B2[:, k, None, None, None] for k in (0, 1))
    mirrored = torch.where(across, pixels_BCHW.flip(3), pixels_BCHW)
    return torch.where(down, mirrored.flip(2), mirrored)


def tensor_to_images(values_BCHW: Tensor) -> ImageArray:
    """Return (B, 3, H, W) in [-1, 1] as uint8 RGB (B, H, W, 3), rounded and clamped."""
    scaled = ((values_BCHW.float() + 1.0) * 127.5).round().clamp(0, 255)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy())


@dataclass(frozen=True, kw_only=True)
class LatentCodec:
    """Encodes to z = (posterior mean - mean) * scale and back; ``vae`` None means the pixels are the latents.

    ``mean`` is a value per latent channel and ``scale`` one number, 1 / standard deviation of the train latents, so
    that z has mean 0 and variance 1 over the train images, which the noise schedule assumes. ``chunk`` images go through
    the VAE at a time, the last ones filled up to as many.
    """

    vae: Any
    mean: tuple[float, ...]
    scale: float
    device: str = "cpu"
    chunk: int = CHUNK

    @property
    def downsample(self) -> int:
        """Pixels per latent cell, one side."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def encode(self, images_BHWC: ImageArray) -> Tensor:
        """Return scaled latents (B, c, h, w) of uint8 images, in chunks with the last one padded."""
        pieces = [
            self.scaled(posterior_mean(self.vae, images_to_tensor(chunk, self.device)))
            for chunk in padded_chunks(images_BHWC, self.chunk)
        ]
        return torch.cat(pieces)[: len(images_BHWC)]

    @torch.no_grad()
    def decode(self, latent_Bchw: Tensor) -> ImageArray:
        """Return uint8 images (B, H, W, 3) of scaled latents, in chunks with the last one padded."""
        raw = latent_Bchw.to(self.device) / self.scale + self._mean()
        if self.vae is None:
            return tensor_to_images(raw)
        count = len(raw)
        padding = raw[:1].expand(-count % self.chunk, -1, -1, -1)
        chunks = torch.split(torch.cat([raw, padding]), self.chunk)
        return np.concatenate([tensor_to_images(self.vae.decode(chunk).sample) for chunk in chunks])[:count]

    def scaled(self, raw_Bchw: Tensor) -> Tensor:
        """Return what is diffused of unscaled latents (pixels, without a VAE)."""
        return (raw_Bchw - self._mean()) * self.scale

    def to_pixels(self, latent_Bchw: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W), about [-1, 1], of scaled latents as one batch; gradients pass through."""
        raw = latent_Bchw / self.scale + self._mean()
        pixels: Tensor = raw if self.vae is None else self.vae.decode(raw).sample
        return pixels

    def _mean(self) -> Tensor:
        return torch.tensor(self.mean, device=self.device)[None, :, None, None]


def coding(env: TrainEnv) -> contextlib.AbstractContextManager[None]:
    """bf16 autocast for a codec's passes where the config asks for bf16; not fp16, in which a large VAE overflows."""
    return autocast(replace(env, precision="bf16" if env.precision == "bf16" else "float32"))


def padded_chunks(images_BHWC: ImageArray, size: int = CHUNK) -> list[ImageArray]:
    """Cut images into chunks of ``size``; the last is filled up with its first image."""
    chunks = [np.asarray(images_BHWC[i : i + size]) for i in range(0, len(images_BHWC), size)]
    last = chunks[-1]
    chunks[-1] = np.concatenate([last, np.repeat(last[:1], size - len(last), axis=0)])
    return chunks


def posterior_mean(vae: Any, pixels_BCHW: Tensor) -> Tensor:
    """Return the unscaled posterior mean (B, c, h, w); the pixels themselves without a VAE."""
    if vae is None:
        return pixels_BCHW
    mean: Tensor = vae.encode(pixels_BCHW).latent_dist.mean
    return mean


def load_codec(folder: Path, device: str = "cpu", chunk: int = CHUNK) -> LatentCodec:
    """Open the ``vae`` stage's folder (vae.json, and vae/ unless the kind is identity); ``chunk`` as LatentCodec's."""
    facts = generator_parts.read_vae(folder)
    vae = None
    if facts.kind == "kl":
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(
            folder / MODEL,
            torch_dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            **PLAIN_LOADING,
        )
        vae = vae.to(device).eval().requires_grad_(False)
        lay_out(vae, device)
    return LatentCodec(
        vae=vae,
        mean=facts.latents_mean,
        scale=facts.scaling_factor,
        device=device,
        chunk=chunk,
    )
