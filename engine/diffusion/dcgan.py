"""The GAN that diffusion is compared with: a class-conditional DCGAN with a projection discriminator and hinge loss.

Radford et al. 2016 (architecture), Miyato et al. 2018 (spectral normalisation, projection), Karras et al. 2018 (the
averaged generator is the one that samples).

Shape legend: B samples, C classes, Z latent width, H side, c channels.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from engine.artifacts.json_text import parse_json
from engine.config import GanConfig
from engine.diffusion.codec import flipped, images_to_tensor
from engine.errors import ConfigError
from engine.training.checkpoints import save_tensors
from engine.training.plan import TrainEnv
from engine.types import ImageArray, IntArray

FIRST_SIDE = 4
FILE = "gan.safetensors"


class Generator(nn.Module):
    """Latent (B, Z) and class (B,) -> RGB (B, 3, H, H) in [-1, 1]: transposed convolutions that double the side."""

    def __init__(self, classes: int, side: int, latent: int, width: int) -> None:
        super().__init__()
        levels = _levels(side)
        channels = [width * 2 ** min(level, 3) for level in reversed(range(levels))]
        self.label = nn.Embedding(classes, latent)
        self.start = nn.Linear(2 * latent, channels[0] * FIRST_SIDE**2)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.ReLU()]
        for before, after in itertools.pairwise(channels):
            layers += [
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1), nn.Tanh())

    def forward(self, latent_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return the images."""
        start = self.start(torch.cat([latent_BZ, self.label(label_B)], dim=1))
        images: Tensor = self.body(start.view(len(start), -1, FIRST_SIDE, FIRST_SIDE))
        return images


class Discriminator(nn.Module):
    """RGB (B, 3, H, H) and class (B,) -> score (B,): strided convolutions, then psi(x) . 1 + embedding . x."""

    def __init__(self, classes: int, side: int, width: int) -> None:
        super().__init__()
        channels = [3, *(width * 2 ** min(level, 3) for level in range(_levels(side)))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Linear(channels[-1], 1))
        self.label = spectral_norm(nn.Embedding(classes, channels[-1]))

    def forward(self, images_BCHW: Tensor, label_B: Tensor) -> Tensor:
        """Return how real each image looks as one of its class."""
        features = self.body(images_BCHW).sum(dim=(2, 3))
        score: Tensor = self.score(features)[:, 0] + (self.label(label_B) * features).sum(dim=1)
        return score


class Gan(nn.Module):
    """Both networks as one module, so that one optimizer, EMA and checkpoint cover them."""

    def __init__(self, config: GanConfig, classes: int, side: int) -> None:
        super().__init__()
        self.generator = Generator(classes, side, config.latent, config.width)
        self.discriminator = Discriminator(classes, side, config.width)


def _levels(side: int) -> int:
    levels = side.bit_length() - FIRST_SIDE.bit_length()
    if levels < 1 or FIRST_SIDE * 2**levels != side:
        raise ConfigError(
            f"synthesis.generator: dcgan makes images of 8, 16, 32, 64 ... px, not {side}; change data.image_size"
        )
    return levels


def build_gan(config: GanConfig, classes: int, side: int, seed: int) -> Gan:
    """Return an untrained GAN; initial weights depend on ``seed`` alone.

    Raises:
        ConfigError: ``side`` is no power of 2 from 8 on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Gan(config, classes, side)


@dataclass(frozen=True, kw_only=True)
class GanObjective:
    """Hinge losses of discriminator and generator at once: each part's gradient reaches its own weights alone."""

    gan: Gan
    images: Callable[[IntArray], ImageArray]
    labels_N: IntArray
    config: GanConfig
    env: TrainEnv

    def __call__(self, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        """Return the sum of both losses; all randomness is drawn for the global batch and sliced by rank."""
        total = self.config.batch_size
        mine = torch.from_numpy(self.env.shard(np.arange(total)))
        flip_B2 = torch.rand(total, 2, generator=generator)[mine] < 0.5
        latent = torch.randn(total, self.config.latent, generator=generator)[mine].to(self.env.device)
        label = torch.from_numpy(self.labels_N[rows]).to(self.env.device)
        real = flipped(images_to_tensor(self.images(rows)), flip_B2).to(self.env.device)
        loss = hinge_losses(self.gan, real, latent, label)
        return loss * self.env.share_of_mean(len(rows), total)


def hinge_losses(gan: Gan, real_BCHW: Tensor, latent_BZ: Tensor, label_B: Tensor) -> Tensor:
    """Return the sum of the discriminator's and the generator's hinge loss, a scalar."""
    fake = gan.generator(latent_BZ, label_B)
    judge = gan.discriminator
    scores = judge(torch.cat([real_BCHW, fake.detach()]), torch.cat([label_B, label_B]))
    on_real, on_fake = scores.chunk(2)
    discriminator_loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
    frozen = {name: value.detach() for name, value in judge.named_parameters()}
    generator_loss = -functional_call(judge, frozen, (fake, label_B)).mean()
    loss: Tensor = discriminator_loss + generator_loss
    return loss


def save_gan(gan: Gan, classes: tuple[str, ...], side: int, config: GanConfig, folder: Path) -> None:
    """Write the generator alone, with what it takes to rebuild it."""
    facts = {"classes": list(classes), "side": side, "latent": config.latent, "width": config.width}
    save_tensors(gan.generator.state_dict(), folder / FILE, metadata={"hardcase": json.dumps(facts)})


@dataclass(frozen=True)
class GanSampler:
    """A trained generator: classes and seeds in, images out."""

    generator: Generator
    classes: tuple[str, ...]
    latent: int
    device: str

    @classmethod
    def load(cls, folder: Path, device: str) -> GanSampler:
        """Open what ``save_gan`` wrote."""
        with safe_open(folder / FILE, framework="pt") as handle:
            facts = parse_json(handle.metadata()["hardcase"])
        generator = Generator(len(facts["classes"]), facts["side"], facts["latent"], facts["width"])
        generator.load_state_dict(load_file(folder / FILE))
        generator.to(device).eval().requires_grad_(False)
        return cls(generator, tuple(facts["classes"]), facts["latent"], device)

    @torch.inference_mode()
    def sample(self, dx_B: list[str], seed_B: list[int]) -> Tensor:
        """Return RGB (B, 3, H, H) in [-1, 1]; a sample depends on its class and seed."""
        noise = [torch.randn(self.latent, generator=torch.Generator().manual_seed(seed)) for seed in seed_B]
        label = torch.tensor([self.classes.index(dx) for dx in dx_B], device=self.device)
        images: Tensor = self.generator(torch.stack(noise).to(self.device), label)
        return images
