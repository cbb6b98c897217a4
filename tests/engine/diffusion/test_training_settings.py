"""Every combination of precision, gradient checkpointing and accumulation trains as the plain one does.

Tolerances are of losses (relative) and of all gradients together, |g - g_plain| / |g_plain|: 1e-4 in float32, 5 % in bf16,
whose numbers have 8 bits. Checkpointing alone changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from engine.config import DenoiserConfig, VaeConfig
from engine.diffusion.denoiser import build_denoiser
from engine.diffusion.pretrained import prepare
from engine.diffusion.schedule import alphas_bar, scheduler_config
from engine.diffusion.train import DenoiserData, DenoiserObjective
from engine.diffusion.vae_train import VaeObjective
from engine.training.loop import train
from engine.training.plan import TrainEnv, TrainPlan

IMAGES, BATCH = 8, 8
TOLERANCE = {"float32": 1e-4, "bf16": 0.05}
COMBINATIONS = list(product(("float32", "bf16"), (False, True), (1, 2)))


def denoiser(**settings: Any) -> tuple[nn.Module, Callable[[TrainEnv], Any], DenoiserConfig]:
    """A U-Net with attention over 16 visual tokens, open lesion adapters, and 8 latents."""
    config = DenoiserConfig(widths=[8, 16], head_dim=8, batch_size=BATCH, steps=1, **settings)
    rng = np.random.default_rng(0)
    data = DenoiserData(
        latents_N2chw=rng.normal(size=(IMAGES, 2, 4, 8, 8)).astype(np.float32),
        levels_NLD=rng.normal(size=(IMAGES, 2, 6)).astype(np.float32),
        neighbours_NK=(np.arange(IMAGES)[:, None] + 1) % IMAGES,
        prompts_UPW=torch.from_numpy(rng.normal(size=(3, 5, 10)).astype(np.float32)),
        prompt_of_N=np.arange(IMAGES) % 3,
        null_prompt_PW=torch.ones(5, 10),
    )
    model = build_denoiser(config, 4, 8, 10, 6, seed=0)
    for adapter in model.adapters.values():
        nn.init.constant_(adapter.gamma, 1.0)
    abar_T = alphas_bar(scheduler_config(config.schedule, config.prediction))
    return (
        model,
        lambda env: DenoiserObjective(
            model=model, data=data, config=config, fuse="concat", abar_T=abar_T, env=env
        ),
        config,
    )  # fmt: skip


def vae(**settings: Any) -> tuple[nn.Module, Callable[[TrainEnv], Any], VaeConfig]:
    """An autoencoder with attention in the middle, as Stable Diffusion's, and 8 images."""
    config = VaeConfig(widths=[8, 16], downsample=2, batch_size=BATCH, steps=1, **settings)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 16, 16, 3)).astype(np.uint8)
    torch.manual_seed(0)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=2,
    )
    return (
        model,
        lambda env: VaeObjective(vae=model, images=lambda rows: images[rows], config=config, env=env),
        config,
    )


def one_step(
    make: Any, folder: Path, precision: str, checkpointing: bool, pieces: int
) -> tuple[float, Tensor]:
    """Return the loss of the first step and its gradients, flat."""
    model, objective, config = make(gradient_checkpointing=checkpointing, accumulate=pieces)
    model.train()
    plan = TrainPlan.of(config, name="part", seed=0, accumulate=pieces, grad_clip=None)
    env = TrainEnv(precision=precision)
    prepare(model, config, env)
    log = train(model, objective(env), np.ones(IMAGES), plan, env, folder)
    gradients = [p.grad.contiguous().flatten() for p in model.parameters() if p.grad is not None]
    return log.losses[0], torch.cat(gradients)


@pytest.mark.slow
@pytest.mark.parametrize("make", [denoiser, vae])
@pytest.mark.parametrize(("precision", "checkpointing", "pieces"), COMBINATIONS)
def test_losses_and_gradients_are_those_of_the_plain_step(
    tmp_path: Path, make: Any, precision: str, checkpointing: bool, pieces: int
) -> None:
    plain_loss, plain = one_step(make, tmp_path / "plain", "float32", False, 1)
    loss, gradients = one_step(make, tmp_path / "this", precision, checkpointing, pieces)
    assert gradients.shape == plain.shape
    assert loss == pytest.approx(plain_loss, rel=TOLERANCE[precision])
    assert float((gradients - plain).norm() / plain.norm()) < TOLERANCE[precision]


@pytest.mark.parametrize("make", [denoiser, vae])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_checkpointing_changes_no_bit(tmp_path: Path, make: Any, precision: str) -> None:
    loss, gradients = one_step(make, tmp_path / "kept", precision, False, 1)
    again, computed_again = one_step(make, tmp_path / "again", precision, True, 1)
    assert again == loss
    assert torch.equal(computed_again, gradients)
