"""Synthesizes images from conditioning: fixed chunks, noise from each sample's own seed, the same bytes anywhere.

Shape legend: B samples of a chunk, L levels, D lesion width, P prompt tokens, W width, H image side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from engine.config import SynthesisConfig
from engine.diffusion.codec import LatentCodec
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import Guidance, GuidedDenoiser
from engine.diffusion.prompt import EMPTY, PromptEncoder
from engine.diffusion.samplers import make_scheduler, run_sampler, sample_noise, start_index
from engine.diffusion.tokens import fuse_levels
from engine.types import FloatArray, ImageArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Synthesizer:
    """A denoiser, its codec and prompts, and how to sample from them.

    ``scheduler_config`` is the noise schedule the denoiser was trained with; ``beta`` the adapter's strength;
    ``shape`` a latent's (c, h, w).
    """

    model: Denoiser
    codec: LatentCodec
    prompts: PromptEncoder
    config: SynthesisConfig
    scheduler_config: dict[str, Any]
    fuse: str
    beta: float
    shape: tuple[int, int, int]
    device: str = "cpu"

    @torch.no_grad()
    def synthesize(
        self,
        levels_BLD: FloatArray,
        prompts: Sequence[str],
        seed_B: IntArray,
        parents_BHWC: ImageArray | None = None,
    ) -> ImageArray:
        """Return uint8 images (B, H, W, 3), at most ``synthesis.batch_size`` of them, one a row of the conditioning.

        A short chunk is filled up with its first sample, so that a sample's bytes do not depend on the others.
        ``parents_BHWC`` is needed when ``synthesis.strength`` is below 1.
        """
        count = len(seed_B)
        fill = np.concatenate([np.arange(count), np.zeros(self.config.batch_size - count, dtype=np.int64)])
        generators = [torch.Generator().manual_seed(int(seed)) for seed in np.asarray(seed_B)[fill]]
        noise = sample_noise(self.shape, generators, self.device)
        parents = None
        if self.config.strength < 1.0:
            assert parents_BHWC is not None
            parents = self.codec.encode(parents_BHWC[fill])
        scheduler = make_scheduler(self.config.sampler, self.scheduler_config, self.config.steps)
        start = start_index(scheduler, self.config.strength)
        predict = self._guided(levels_BLD[fill], [prompts[i] for i in fill])
        latent = run_sampler(predict, scheduler, start, noise, generators, parents)
        return self.codec.decode(latent)[:count]

    def _guided(self, levels_BLD: FloatArray, prompts: Sequence[str]) -> GuidedDenoiser:
        states_UPW, place = self.prompts.encode_unique([EMPTY, *prompts])
        lesion = torch.from_numpy(np.ascontiguousarray(levels_BLD)).float().to(self.device)
        return GuidedDenoiser(
            model=self.model,
            guidance=guidance_of(self.config),
            prompt_BPW=states_UPW[torch.from_numpy(place[1:]).to(states_UPW.device)],
            null_prompt_PW=states_UPW[int(place[0])],
            lesion_BTD=fuse_levels(lesion, self.fuse),
            beta=self.beta,
        )


def guidance_of(config: SynthesisConfig) -> Guidance:
    """Return the guidance the ``synthesis`` section asks for."""
    return Guidance(
        scale=config.guidance_scale,
        lesion_scale=config.lesion_guidance_scale,
        interval=config.guidance_interval,
    )


def evaluations_per_sample(config: SynthesisConfig, scheduler_config: dict[str, Any]) -> int:
    """Return the NFE: how often the denoiser runs for one sample, guidance branches included."""
    scheduler = make_scheduler(config.sampler, scheduler_config, config.steps)
    guidance = guidance_of(config)
    start = start_index(scheduler, config.strength)
    return sum(guidance.branches(int(timestep)) for timestep in scheduler.timesteps[start:])


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 (hex) of every safetensors file below ``folder``, by sorted path."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def save_png(image_HWC: npt.NDArray[np.uint8], path: Path) -> None:
    """Write one uint8 RGB image; the bytes depend on the pixels alone (fixed compression, no metadata)."""
    Image.fromarray(image_HWC).save(path, format="PNG", compress_level=6)


def latent_shape(channels: int, image_size: int, downsample: int) -> tuple[int, int, int]:
    """Return (c, h, w) of a latent."""
    return channels, image_size // downsample, image_size // downsample
