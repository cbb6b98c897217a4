"""The probability-flow ODE dy/ds = eps(y, s) (Song et al. 2021, Eq. 13, in the coordinates of Karras et al. 2022).

Solved by Heun's method on Karras' noise levels, or adaptively by Dormand-Prince in log s.

Shape legend: B samples, c h w a latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers.sampling import Predict, SamplerSettings, Watch

RHO = 7.0
"""Karras et al. 2022, Eq. 5: noise levels are uniform in s^(1 / RHO)."""


@dataclass(frozen=True)
class ProbabilityFlow:
    """Deterministic: the noise alone decides the sample. ``solver`` heun has order 2, adaptive holds ``tolerance``.

    The adaptive solver's steps are common to the samples of a chunk, so there a sample's last bits depend on the
    chunk it is made in; chunks are the same on every backend.
    """

    settings: SamplerSettings

    def run(
        self,
        predict: Predict,
        noise_Bchw: Tensor,
        generators: Sequence[torch.Generator],
        parent_Bchw: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Return the sampled latents; see ``Sampler``. NFE of heun: 2 steps - 1, the last step being Euler's."""
        process = NoiseProcess(self.settings.scheduler_config)
        first = process.start(self.settings.strength)
        high, low = process.ratio(first), process.ratio(0.0)
        y = process.noised(noise_Bchw, parent_Bchw, first) / process.signal(first)
        flow = Flow(process, predict, watch)
        if self.settings.solver == "heun":
            levels = karras_levels(high, low, self.settings.steps)
            for s, t in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
                slope = flow(y, s)
                middle = flow(y + (t - s) * slope, t, silent=True)
                y = y + (t - s) * 0.5 * (slope + middle)
        else:
            y = _adaptive(flow, y, high, low, self.settings.tolerance)
        return y - low * flow(y, low)


@dataclass(frozen=True)
class Flow:
    """The slope eps(y, s) of the flow."""

    process: NoiseProcess
    predict: Predict
    watch: Watch | None = None

    def __call__(self, y_Bchw: Tensor, s: float, *, silent: bool = False) -> Tensor:
        """Return dy/ds; ``silent`` keeps a corrector's evaluation from the watcher."""
        u = min(self.process.timestep(s), float(self.process.last))
        x = self.process.signal(u) * y_Bchw
        clean, eps = self.process.clean_and_noise(self.predict(x, u), x, u)
        if self.watch is not None and not silent:
            self.watch(u, x, clean)
        return eps


def karras_levels(high: float, low: float, count: int) -> npt.NDArray[np.float64]:
    """Return ``count`` falling noise levels from ``high`` to ``low``, dense where there is little noise."""
    ends = high ** (1 / RHO), low ** (1 / RHO)
    return np.asarray(np.linspace(*ends, count) ** RHO)


def _adaptive(flow: Flow, y_Bchw: Tensor, high: float, low: float, tolerance: float) -> Tensor:
    """Integrate dy / d log s = s eps from log ``high`` to log ``low`` by RK45 in float64."""

    def slope(log_s: float, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        s = math.exp(log_s)
        y = torch.from_numpy(values).reshape(y_Bchw.shape).to(y_Bchw)
        return np.asarray((s * flow(y, s)).double().cpu().numpy().ravel())

    values = integrate(
        slope, y_Bchw.double().cpu().numpy().ravel(), (math.log(high), math.log(low)), tolerance
    )
    return torch.from_numpy(values).reshape(y_Bchw.shape).to(y_Bchw)


def integrate(
    slope: Callable[[float, npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    start: npt.NDArray[np.float64],
    span: tuple[float, float],
    tolerance: float,
) -> npt.NDArray[np.float64]:
    """Return the solution at the end of ``span`` by Dormand-Prince 5(4) with relative and absolute ``tolerance``."""
    solved = solve_ivp(slope, span, start, method="RK45", rtol=tolerance, atol=tolerance)
    return np.asarray(solved.y[:, -1])
