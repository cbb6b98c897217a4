"""Guidance by gradients through the decoded estimate of x_0: toward a class, and toward what a classifier gets wrong.

With y = x_0 + s eps the posterior mean under p(x_0) exp(U(x_0)) is E[x_0 | y] + Cov[x_0 | y] grad U to first order,
and Cov[x_0 | y] = (1 - abar) I where latents have unit variance (as the codec scales them). So at each step

    x_0 <- x_0 + (1 - abar) grad U(x_0)

whatever the sampler and whatever the denoiser predicts: Dhariwal and Nichol 2021 (Eq. 14) with the classifier read at
the estimate of x_0, as in Song et al. 2023 (Pi-GDM), and no gradient through the denoiser.

Shape legend: B samples, C classes, c h w a latent, H W an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.diffusion.process import ChangedEstimate, NoiseProcess
from engine.diffusion.samplers.sampling import Predict
from engine.diffusion.schedule import TRAIN_STEPS
from engine.errors import StageError

LogitsFn = Callable[[Tensor], Tensor]
"""Differentiable: pixels (B, 3, H, W) in [-1, 1] -> logits (B, C)."""

Hardness = Literal["loss", "entropy", "margin"]


def hardness(logits_BC: Tensor, label_B: Tensor, kind: Hardness) -> Tensor:
    """Return how hard each sample is for the classifier that gave the logits, (B,); higher is harder.

    ``loss``: -log p(label). ``entropy``: of p, nats. ``margin``: log p(best other class) - log p(label).
    """
    log_p_BC = torch.log_softmax(logits_BC, dim=1)
    own_B = log_p_BC.gather(1, label_B[:, None])[:, 0]
    if kind == "loss":
        return -own_B
    if kind == "entropy":
        return -(log_p_BC.exp() * log_p_BC).sum(dim=1)
    others_BC = log_p_BC.scatter(1, label_B[:, None], float("-inf"))
    return others_BC.max(dim=1).values - own_B


@dataclass(frozen=True, kw_only=True)
class Steering:
    """U(x_0) = classifier_scale log p_judge(label) + adversarial_scale (hardness + keep log p_judge(label)).

    ``judge`` keeps or pulls the class, ``opponent`` is the classifier being improved; ``decode`` maps scaled latents to
    pixels. Outside ``interval`` (share of the noise range, 0 clean) nothing is done; no step moves a sample's x_0 by
    more than ``bound`` (root mean square over its latent, in standard deviations of the train latents).
    """

    decode: Callable[[Tensor], Tensor]
    label_B: Tensor
    judge: LogitsFn | None = None
    opponent: LogitsFn | None = None
    classifier_scale: float = 0.0
    adversarial_scale: float = 0.0
    kind: Hardness = "loss"
    keep: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    bound: float = 0.5

    def potential(self, clean_Bchw: Tensor) -> Tensor:
        """Return U of each sample, (B,)."""
        pixels = self.decode(clean_Bchw)
        total = torch.zeros(len(clean_Bchw), device=clean_Bchw.device)
        pull = self.classifier_scale + self.adversarial_scale * self.keep
        if self.judge is not None and pull > 0:
            total = total - pull * hardness(self.judge(pixels), self.label_B, "loss")
        if self.opponent is not None and self.adversarial_scale > 0:
            total = total + self.adversarial_scale * hardness(self.opponent(pixels), self.label_B, self.kind)
        return total

    def shift(self, clean_Bchw: Tensor, noise: float, timestep: float) -> Tensor:
        """Return by how much x_0 moves at a timestep whose noise has standard deviation ``noise``.

        Raises:
            StageError: the gradient is not finite; names the timestep.
        """
        low, high = self.interval
        if not low <= timestep / TRAIN_STEPS <= high:
            return torch.zeros_like(clean_Bchw)
        with torch.enable_grad():
            start = clean_Bchw.detach().float().requires_grad_(True)
            gradient = torch.autograd.grad(self.potential(start).sum(), start)[0]
        if not bool(torch.isfinite(gradient).all()):
            raise StageError(
                f"synthesize: the gradient of guidance is not finite at timestep {timestep:g}; "
                "lower synthesis.adversarial_scale or synthesis.classifier_scale"
            )
        move = noise**2 * gradient
        size = move.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return move * (self.bound / size.clamp(min=1e-12)).clamp(max=1.0)


def steered(predict: Predict, process: NoiseProcess, steering: Steering) -> ChangedEstimate:
    """Return the guided denoiser with its estimate of x_0 moved by ``steering``."""
    return ChangedEstimate(
        predict,
        process,
        lambda clean, timestep: clean + steering.shift(clean, process.noise(timestep), timestep),
    )
