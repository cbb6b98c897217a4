"""Trains the denoiser: latents computed before, conditioning dropped for guidance, embeddings mixed as in sampling.

Shape legend: N train images, B global batch, L levels, D lesion width, U different prompts, P prompt tokens, W width,
K neighbours, c h w a latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.config import DenoiserConfig
from engine.diffusion.codec import CHUNK
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.schedule import add_noise, min_snr_weight, prediction_target
from engine.diffusion.tokens import fuse_levels, slerp
from engine.training.plan import TrainEnv, derive_seed
from engine.types import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class DenoiserData:
    """What the denoiser learns from: N images' latents and what conditions them.

    ``latents_N2chw`` holds the scaled latent of each image and of its mirror image; ``levels_NLD`` the layer-normed
    embeddings; ``neighbours_NK`` positions of same-class neighbours; ``prompts_UPW`` the states of the different
    prompts, ``prompt_of_N`` each image's; ``null_prompt_PW`` the empty prompt's.
    """

    latents_N2chw: npt.NDArray[np.float32]
    levels_NLD: FloatArray
    neighbours_NK: IntArray
    prompts_UPW: Tensor
    prompt_of_N: IntArray
    null_prompt_PW: Tensor

    def latents(self, rows: IntArray, draws: Draws) -> Tensor:
        """Return the latents (B, c, h, w), mirrored where drawn so."""
        return torch.from_numpy(self.latents_N2chw[rows, draws.mirror_B.numpy().astype(np.int64)])

    def levels(self, rows: IntArray, draws: Draws) -> Tensor:
        """Return the embeddings (B, L, D), moved towards a neighbour's by each example's share."""
        others = self.neighbours_NK[rows, draws.neighbour_B.numpy()]
        own, other = (torch.from_numpy(self.levels_NLD[index]).float() for index in (rows, others))
        return slerp(own, other, draws.share_B)

    def prompts(self, rows: IntArray) -> Tensor:
        """Return the states of the images' prompts, (B, P, W)."""
        return self.prompts_UPW[torch.from_numpy(self.prompt_of_N[rows]).to(self.prompts_UPW.device)]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The random numbers of one step, this worker's slice of the global batch's."""

    timestep_B: Tensor
    noise_Bchw: Tensor
    mirror_B: Tensor
    drop_prompt_B: Tensor
    drop_lesion_B: Tensor
    share_B: Tensor
    neighbour_B: Tensor

    @classmethod
    def plain(cls, timestep_B: Tensor, noise_Bchw: Tensor, *, drop_lesion: bool = False) -> Draws:
        """Return draws under which every image keeps its own embedding and prompt (or loses the embedding), unmirrored."""
        count = len(noise_Bchw)
        none = torch.zeros(count, dtype=torch.bool)
        return cls(
            timestep_B=timestep_B,
            noise_Bchw=noise_Bchw,
            mirror_B=none,
            drop_prompt_B=none,
            drop_lesion_B=torch.full((count,), drop_lesion),
            share_B=torch.zeros(count),
            neighbour_B=torch.zeros(count, dtype=torch.long),
        )


def draw(
    config: DenoiserConfig, shape: tuple[int, ...], neighbours: int, generator: torch.Generator, env: TrainEnv
) -> Draws:
    """Draw for the global batch, then slice by rank, so that the number of workers changes nothing.

    Timesteps are stratified: one in each B-th of the range, in random order, which lowers the variance of the loss
    and leaves its expectation. ``share`` is how far the embedding moves to the neighbour's: 0 (``own``), 1
    (``neighbour``), or half of the time 0 and else uniform (``mixed``).
    """
    total = config.batch_size
    strata_B = (torch.randperm(total, generator=generator) + torch.rand(total, generator=generator)) / total
    noise_Bchw = torch.randn(total, *shape, generator=generator)
    mirror_B = torch.rand(total, generator=generator) < (0.5 if config.flips else 0.0)
    drop_B = torch.rand(total, generator=generator)
    mixed_B = torch.rand(total, generator=generator) * (torch.rand(total, generator=generator) < 0.5)
    share_B = {"own": torch.zeros(total), "neighbour": torch.ones(total), "mixed": mixed_B}[
        config.guidance_tokens
    ]
    neighbour_B = torch.randint(neighbours, (total,), generator=generator)
    both, prompt = config.drop_all, config.drop_all + config.drop_prompt
    mine = torch.from_numpy(env.shard(np.arange(total)))
    return Draws(
        timestep_B=(strata_B * 1000).long().clamp(max=999)[mine],
        noise_Bchw=noise_Bchw[mine],
        mirror_B=mirror_B[mine],
        drop_prompt_B=(drop_B < prompt)[mine],
        drop_lesion_B=((drop_B < both) | ((drop_B >= prompt) & (drop_B < prompt + config.drop_lesion)))[mine],
        share_B=share_B[mine],
        neighbour_B=neighbour_B[mine],
    )


@dataclass(frozen=True, kw_only=True)
class DenoiserObjective:
    """Loss of one shard: L1 or L2 between prediction and target at random timesteps (L_simple for noise and L2)."""

    model: Denoiser
    data: DenoiserData
    config: DenoiserConfig
    fuse: str
    abar_T: Tensor
    env: TrainEnv

    def __call__(self, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of the latents ``rows``; the mean over workers is that of the global batch."""
        shape = self.data.latents_N2chw.shape[2:]
        draws = draw(self.config, shape, self.data.neighbours_NK.shape[1], generator, self.env)
        return self.loss(rows, draws).mean() * self.env.share_of_mean(len(rows), self.config.batch_size)

    def loss(self, rows: npt.NDArray[np.int64], draws: Draws) -> Tensor:
        """Return the weighted loss of each example, (B,)."""
        device, data = self.env.device, self.data
        clean = data.latents(rows, draws).to(device)
        noise, abar_B = draws.noise_Bchw.to(device), self.abar_T[draws.timestep_B].to(device)
        lesion = fuse_levels(data.levels(rows, draws).to(device), self.fuse)
        lesion = self.model.drop_lesion(lesion, draws.drop_lesion_B.to(device))
        prompt = data.prompts(rows)
        drop = draws.drop_prompt_B.to(prompt.device)[:, None, None]
        prompt = torch.where(drop, data.null_prompt_PW, prompt)
        output = self.model(
            add_noise(clean, noise, abar_B), draws.timestep_B.to(device), prompt, lesion, self.config.beta
        )
        return weighted_error(output, clean, noise, abar_B, self.config)


def weighted_error(
    output_Bchw: Tensor, clean_Bchw: Tensor, noise_Bchw: Tensor, abar_B: Tensor, config: DenoiserConfig
) -> Tensor:
    """Return the weighted loss of each example, (B,): L1 or L2 between output and target."""
    error = output_Bchw.float() - prediction_target(clean_Bchw, noise_Bchw, abar_B, config.prediction)
    error = error.abs() if config.loss == "l1" else error**2
    weight_B = min_snr_weight(abar_B, config.min_snr_gamma, config.prediction)
    loss_B: Tensor = error.mean(dim=(1, 2, 3)) * weight_B
    return loss_B


@torch.no_grad()
def validation_loss(
    objective: DenoiserObjective, positions: IntArray, seed: int, without_lesion: bool = False
) -> float | None:
    """Return the mean loss over the given images (at most 512, four times each) with fixed timesteps and noise.

    Every image keeps its own embedding and prompt. ``without_lesion`` exchanges the embedding by the null one: the
    difference says how much the adapter knows. None when there are no images.
    """
    if len(positions) == 0:
        return None
    rows = np.tile(positions[:512], 4)
    shape = objective.data.latents_N2chw.shape[2:]
    generator = torch.Generator().manual_seed(derive_seed(seed, "denoiser", "validation"))
    timestep = (
        (torch.arange(len(rows)) + torch.rand(len(rows), generator=generator)) / len(rows) * 1000
    ).long()
    timestep = timestep[torch.randperm(len(rows), generator=generator)].clamp(max=999)
    losses = []
    for start in range(0, len(rows), CHUNK):
        index = np.arange(start, start + CHUNK) % len(rows)
        noise = torch.randn(CHUNK, *shape, generator=generator)
        draws = Draws.plain(timestep[index], noise, drop_lesion=without_lesion)
        losses.append(objective.loss(rows[index], draws)[: len(rows) - start].cpu())
    return float(torch.cat(losses).double().mean())
