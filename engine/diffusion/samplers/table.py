"""The samplers by name: few-step solvers and ancestral sampling from diffusers, SDE, ODE and Langevin samplers of our own.

All work on one trained denoiser, whatever it predicts. A sampler is a function from ``SamplerSettings`` to a
``Sampler``: add one by adding a line to SAMPLERS.

Shape legend: B samples, c h w a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.process import LOWEST_LOG_SNR, NoiseProcess
from engine.diffusion.samplers.ode import ProbabilityFlow
from engine.diffusion.samplers.sampling import Predict, Sampler, SamplerSettings, Watch
from engine.diffusion.samplers.sde import AnnealedLangevin, ReverseSde
from engine.diffusion.schedule import SCHEDULES, TRAIN_STEPS
from engine.errors import ConfigError


def _dpmpp(config: dict[str, Any], algorithm: str = "dpmsolver++") -> Any:
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        **config,
        algorithm_type=algorithm,
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
    """DDIM as DPM-Solver++ of first order, which it is (Lu et al. 2022, Sec. 4.1).

    diffusers' DDIMScheduler takes whole strides of 1000 // steps while its timesteps lie 1000 / steps apart: with 150
    steps a Gaussian's mean comes out 3 % short. This one steps between its own timesteps.
    """
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        **config,
        algorithm_type="dpmsolver++",
        solver_order=1,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
    )


def _ddpm(config: dict[str, Any]) -> Any:
    from diffusers import DDPMScheduler

    return DDPMScheduler(**config, clip_sample=False)


def _from_diffusers(build: Callable[[dict[str, Any]], Any], settings: SamplerSettings) -> Sampler:
    return SchedulerSampler(settings, build)


SAMPLERS: dict[str, Callable[[SamplerSettings], Sampler]] = {
    "annealed_langevin": AnnealedLangevin,
    "ddim": partial(_from_diffusers, _ddim),
    "ddpm": partial(_from_diffusers, _ddpm),
    "dpmpp": partial(_from_diffusers, _dpmpp),
    "dpmpp_sde": partial(_from_diffusers, partial(_dpmpp, algorithm="sde-dpmsolver++")),
    "euler_maruyama": ReverseSde,
    "predictor_corrector": partial(ReverseSde, corrector=True),
    "probability_flow": ProbabilityFlow,
    "unipc": partial(_from_diffusers, _unipc),
}
"""Annealed Langevin dynamics (Song and Ermon 2019), DDIM (Song 2021), DDPM ancestral (Ho 2020), DPM-Solver++ 2M and
its SDE form (Lu 2022), reverse SDE, predictor-corrector and probability-flow ODE (Song et al. 2021), UniPC (Zhao 2023)."""


def make_sampler(name: str, settings: SamplerSettings) -> Sampler:
    """Return the sampler called ``name``.

    Raises:
        ConfigError: unknown sampler; the message lists the known ones.
    """
    if name not in SAMPLERS:
        raise ConfigError(
            f"synthesis.sampler: unknown sampler {name!r}; known: {', '.join(sorted(SAMPLERS))}"
        )
    return SAMPLERS[name](settings)


@dataclass(frozen=True)
class SchedulerSampler:
    """A diffusers scheduler (made by ``build`` from its schedule's arguments) that takes unscaled latents."""

    settings: SamplerSettings
    build: Callable[[dict[str, Any]], Any]

    def scheduler(self) -> tuple[Any, int]:
        """Return a fresh scheduler with its timesteps set, and the index of the first one to run."""
        config, steps = self.settings.scheduler_config, self.settings.steps
        scheduler = self.build(config)
        if type(scheduler).__name__ == "DDPMScheduler":
            total = config["num_train_timesteps"]
            spaced = torch.arange(steps, dtype=torch.float64).mul(total / steps).round().long()
            scheduler.set_timesteps(timesteps=(total - 1 - spaced).tolist())
        else:
            scheduler.set_timesteps(steps)
        return scheduler, start_index(scheduler, self.settings.strength)

    def run(
        self,
        predict: Predict,
        noise_Bchw: Tensor,
        generators: Sequence[torch.Generator],
        parent_Bchw: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Return the sampled latents; see ``Sampler``. NFE: the timesteps from the first one to run."""
        scheduler, start = self.scheduler()
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start)
        timesteps = scheduler.timesteps[start:]
        process = NoiseProcess(self.settings.scheduler_config) if watch is not None else None
        latent: Tensor = noise_Bchw * scheduler.init_noise_sigma
        if parent_Bchw is not None:
            latent = scheduler.add_noise(parent_Bchw, noise_Bchw, timesteps[:1].expand(len(noise_Bchw)))
        extra = {"generator": list(generators)} if _draws(scheduler) else {}
        for timestep in timesteps:
            output = predict(latent, int(timestep))
            if watch is not None and process is not None:
                clean, _ = process.clean_and_noise(output, latent, float(timestep))
                watch(float(timestep), latent, clean)
            latent = scheduler.step(output, timestep, latent, return_dict=False, **extra)[0]
        return latent


def _draws(scheduler: Any) -> bool:
    """Whether each step adds noise, which must come from the samples' own generators."""
    if type(scheduler).__name__ == "DDPMScheduler":
        return True
    return str(scheduler.config.get("algorithm_type", "")).startswith("sde-")


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
