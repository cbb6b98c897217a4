"""Few-step and ancestral samplers over one trained denoiser, from diffusers' schedulers.

A sampler is a function from ``scheduler_config``'s arguments to a scheduler: add one by adding a line to SAMPLERS.

Shape legend: B samples, c h w a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.schedule import SCHEDULES, TRAIN_STEPS
from engine.errors import ConfigError

LOWEST_LOG_SNR = -5.1
"""Sampling starts no noisier than half this log-SNR: beyond it (only the cosine schedule) x_0 is 0 / 0."""

Predict = Callable[[Tensor, int], Tensor]
"""The guided denoiser: (noisy latents, timestep) -> prediction."""


def _dpmpp(config: dict[str, Any]) -> Any:
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        **config,
        algorithm_type="dpmsolver++",
        solver_order=2,
        use_lu_lambdas=_finite_snr(config),
        lambda_min_clipped=LOWEST_LOG_SNR,
    )


def _unipc(config: dict[str, Any]) -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(**config, solver_order=2, use_exponential_sigmas=_finite_snr(config))


def _finite_snr(config: dict[str, Any]) -> bool:
    """Whether steps can be uniform in log-SNR; cosine's reaches so far into the noise that most would be lost there.

    With an exact denoiser of Gaussian data, 16 such steps of DPM-Solver++ leave an eighth of the error that 16
    uniform ones do, which also lose a tenth of the standard deviation: images look washed out.
    """
    return bool(config["beta_schedule"] != SCHEDULES["cosine"])


def _ddim(config: dict[str, Any]) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(**config, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")


def _ddpm(config: dict[str, Any]) -> Any:
    from diffusers import DDPMScheduler

    return DDPMScheduler(**config, clip_sample=False)


SAMPLERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "ddim": _ddim,
    "ddpm": _ddpm,
    "dpmpp": _dpmpp,
    "unipc": _unipc,
}
"""DDIM (Song 2021), DDPM ancestral (Ho 2020), DPM-Solver++ 2M (Lu 2022), UniPC (Zhao 2023)."""


def make_scheduler(name: str, config: dict[str, Any], steps: int) -> Any:
    """Return a scheduler with its ``steps`` timesteps set.

    Raises:
        ConfigError: unknown sampler; the message lists the known ones.
    """
    if name not in SAMPLERS:
        raise ConfigError(
            f"synthesis.sampler: unknown sampler {name!r}; known: {', '.join(sorted(SAMPLERS))}"
        )
    scheduler = SAMPLERS[name](config)
    if name == "ddpm":
        total = config["num_train_timesteps"]
        spaced = torch.arange(steps, dtype=torch.float64).mul(total / steps).round().long()
        scheduler.set_timesteps(timesteps=(total - 1 - spaced).tolist())
    else:
        scheduler.set_timesteps(steps)
    return scheduler


def start_index(scheduler: Any, strength: float) -> int:
    """Return the index of the first timestep to run: 0 from noise, later when a parent is only partly noised.

    At ``strength`` s it is the timestep closest to s of the whole range, whatever the sampler's spacing (SDEdit,
    Meng et al. 2022). Timesteps noisier than LOWEST_LOG_SNR are left out.
    """
    count = len(scheduler.timesteps)
    target = strength * (TRAIN_STEPS - 1)
    start = min(range(count), key=lambda index: abs(float(scheduler.timesteps[index]) - target))
    abar_T = scheduler.alphas_cumprod.double()
    log_snr_T = 0.5 * (abar_T.log() - (1 - abar_T).log())
    allowed = [float(log_snr_T[int(timestep)]) >= LOWEST_LOG_SNR for timestep in scheduler.timesteps[start:]]
    return start + allowed.index(True) if any(allowed) else count - 1


def sample_noise(shape: Sequence[int], generators: Sequence[torch.Generator], device: str) -> Tensor:
    """Return standard normal noise (B, ...), each sample's from its own CPU generator."""
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators]).to(
        device
    )


@torch.no_grad()
def run_sampler(
    predict: Predict,
    scheduler: Any,
    start: int,
    noise_Bchw: Tensor,
    generators: Sequence[torch.Generator],
    parent_Bchw: Tensor | None = None,
) -> Tensor:
    """Return the sampled latents (B, c, h, w).

    Args:
        predict: the guided denoiser.
        scheduler: from ``make_scheduler``; its state is used up.
        start: from ``start_index``.
        noise_Bchw: the samples' initial noise.
        generators: the samples' generators, which the ancestral sampler goes on drawing from, step by step.
        parent_Bchw: scaled latents to start from, noised to the first timestep; None: start from noise.
    """
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    timesteps = scheduler.timesteps[start:]
    latent: Tensor = noise_Bchw * scheduler.init_noise_sigma
    if parent_Bchw is not None:
        latent = scheduler.add_noise(parent_Bchw, noise_Bchw, timesteps[:1].expand(len(noise_Bchw)))
    extra = {"generator": list(generators)} if type(scheduler).__name__ == "DDPMScheduler" else {}
    for timestep in timesteps:
        output = predict(latent, int(timestep))
        latent = scheduler.step(output, timestep, latent, return_dict=False, **extra)[0]
    return latent
