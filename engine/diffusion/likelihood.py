"""How probable a model finds images: exact up to the solver, by the probability-flow ODE (Song et al. 2021, Sec. 4.3).

Along dy/ds = eps(y, s) the log density changes by d log p / ds = -div eps, so with s from the lowest noise to the highest

    log p_low(y_low) = log p_high(y_high) + integral of div eps ds

and at the highest noise the density is a Gaussian's. The divergence is estimated with Hutchinson's trace v . (d eps / dy) v.

Shape legend: B samples, c h w a latent, H W an image, D dimensions of a sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.diffusion.codec import LatentCodec, images_to_tensor
from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers.ode import Flow, integrate
from engine.diffusion.samplers.sampling import Predict
from engine.types import ImageArray


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Log density of scaled latents under a denoiser; ``probes`` random directions a sample estimate the divergence.

    The density is of x at the schedule's first timestep (a noise of about 1 % for the usual schedules), the lowest the
    denoiser knows. ``tolerance`` is the solver's, relative and absolute.
    """

    predict: Predict
    process: NoiseProcess
    tolerance: float = 1e-3
    probes: int = 1

    def log_density(self, latent_Bchw: Tensor, generator: torch.Generator) -> npt.NDArray[np.float64]:
        """Return log p of each sample, nats, (B,).

        Rademacher directions are drawn once a call, so that the integrand is smooth and the estimate unbiased.
        """
        count, size = len(latent_Bchw), latent_Bchw[0].numel()
        shape = (self.probes, *latent_Bchw.shape)
        probes = (torch.randint(0, 2, shape, generator=generator) * 2 - 1).to(latent_Bchw)
        flow = Flow(self.process, self.predict)
        low, high = self.process.ratio(0.0), self.process.ratio(self.process.noisiest)

        def slope(log_s: float, state: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            s = math.exp(log_s)
            y = torch.from_numpy(state[: count * size]).reshape(latent_Bchw.shape).to(latent_Bchw)
            eps, divergence_B = _divergence(flow, y, s, probes)
            moved = np.concatenate([eps.double().cpu().numpy().ravel(), divergence_B.double().cpu().numpy()])
            return np.asarray(s * moved)

        start = np.concatenate([latent_Bchw.double().cpu().numpy().ravel(), np.zeros(count)])
        end = integrate(slope, start, (math.log(low), math.log(high)), self.tolerance)
        y_BD = end[: count * size].reshape(count, size)
        variance = 1.0 + high**2  # of y at the highest noise, for latents of unit variance
        prior_B = -0.5 * ((y_BD**2).sum(axis=1) / variance + size * math.log(2 * math.pi * variance))
        return np.asarray(prior_B + end[count * size :])


def _divergence(flow: Flow, y_Bchw: Tensor, s: float, probes: Tensor) -> tuple[Tensor, Tensor]:
    """Return eps(y, s) and the mean over the probes v of v . (d eps / dy) v, (B,)."""
    with torch.enable_grad():
        y = y_Bchw.detach().requires_grad_(True)
        eps = flow(y, s)
        estimates = [
            (torch.autograd.grad((eps * v).sum(), y, retain_graph=True)[0] * v).flatten(1).sum(dim=1)
            for v in probes
        ]
    return eps.detach(), torch.stack(estimates).mean(dim=0)


def bits_per_dimension(
    likelihood: Likelihood, codec: LatentCodec, images_BHWC: ImageArray, generator: torch.Generator
) -> npt.NDArray[np.float64]:
    """Return -log2 p of 8-bit images over their number of values, (B,), for a model of pixels (``vae.kind: identity``).

    Images are dequantised with uniform noise, which makes it an upper bound (Theis et al. 2016); 8 is what a uniform
    model gets.

    Raises:
        ValueError: the codec is a VAE, whose latents have no likelihood in pixels.
    """
    if codec.vae is not None:
        raise ValueError("bits per dimension need a model of pixels (vae.kind: identity), this one has a VAE")
    pixels = images_to_tensor(images_BHWC)
    pixels = pixels + (torch.rand(pixels.shape, generator=generator) - 0.5) / 127.5
    latent = codec.scaled(pixels.to(codec.device))
    size = latent[0].numel()
    per_value = math.log(codec.scale / 127.5)
    return np.asarray(-(likelihood.log_density(latent, generator) / size + per_value) / math.log(2.0))
