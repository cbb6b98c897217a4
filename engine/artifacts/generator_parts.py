"""Reads and writes ``vae.json``, ``latents.npy``, ``denoiser.json``, ``gan.json``, ``likelihood.json``: the generator.

Shape legend: N train images, c latent channels, h w latent side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import ArraySchema

LATENTS: Final = ArraySchema(
    file="latents.npy",
    stages=("latents",),
    shape="(N, 2, c, h, w)",
    dtype="float32",
    meaning="scaled latents of each train image and of its mirror image",
)


class VaeFacts(JsonRecord):
    """The autoencoder: ``vae.json``; figures of reconstruction are on held-out train images."""

    FILE: ClassVar[str] = "vae.json"
    STAGES: ClassVar[tuple[str, ...]] = ("vae",)
    NEWLINE: ClassVar[bool] = False
    NAN: ClassVar[bool] = True

    kind: str = Field(description="kl, or identity: pixels are the latents")
    pretrained: str | None = Field(
        None, description="hub id or folder it was loaded from; null: trained here"
    )
    remade: tuple[str, ...] = Field((), description="layers that did not fit and were made anew")
    start: Any = Field(None, description="how its weights started; since 0.2")
    scaling_factor: float = Field(description="1 / standard deviation of the train latents")
    latents_mean: tuple[float, ...] = Field(description="their mean per channel")
    psnr: float | None = Field(
        None, description="reconstruction of held-out images: decibels, mean over images"
    )
    l1: float | None = Field(None, description="mean absolute error, 0-1")
    ssim: float | None = Field(None, description="structural similarity")
    colour_error: float | None = Field(None, description="distance of mean RGB; since 0.2")
    chroma_slope: float | None = Field(
        None, description="share of colour differences between images kept; since 0.2"
    )
    pixel_chroma_slope: float | None = Field(None, description="share of those within images kept; since 0.2")
    held_out: int = Field(0, description="train images set aside for the figures")
    losses: tuple[float, ...] = Field((), description="training loss per step")


class DenoiserFacts(JsonRecord):
    """The denoiser, or its student: ``denoiser.json``."""

    FILE: ClassVar[str] = "denoiser.json"
    STAGES: ClassVar[tuple[str, ...]] = ("denoiser", "distill")
    NEWLINE: ClassVar[bool] = False
    NAN: ClassVar[bool] = True

    pretrained: str | None = Field(
        None, description="hub id or folder it was loaded from; null: trained here"
    )
    remade: tuple[str, ...] = Field((), description="layers that did not fit and were made anew")
    losses: tuple[float, ...] = Field((), description="training loss per step")
    val_loss: float | None = Field(
        None, description="loss on held-out train images, at the step that is kept"
    )
    val_loss_null_lesion: float | None = Field(None, description="the same without the lesion's embedding")
    val_curve: tuple[tuple[int, float], ...] = Field((), description="[step, held-out loss]; since 0.2")
    kept_step: int | None = Field(None, description="step whose weights are kept; since 0.2")
    held_out: int = Field(0, description="train images set aside")
    gammas: Any = Field(None, description="gates of the lesion adapters")
    parameters: int = Field(0, description="weights in all")
    scheduler: dict[str, Any] = Field(description="noise schedule, as diffusers reads it")
    fuse: str = Field(description="mean or concat: how levels were fused")
    beta: float = Field(description="strength of the lesion adapter (Eq. 2)")
    few_steps: int | None = Field(
        None, description="of a student: evaluations it samples in, guidance included; null: no student"
    )
    visited: tuple[int, ...] = Field((), description="of a student: the timesteps it was taught")
    fresh: float | None = Field(None, description="of a student: share of the noise drawn anew at each level")
    distance: float | None = Field(
        None,
        description="of a student: how far its samples of held-out lesions end from its teacher's, root mean square in "
        "standard deviations of the latents",
    )
    distance_teacher: float | None = Field(
        None, description="of a student: the same of the teacher itself in so few evaluations"
    )


class GanFacts(JsonRecord):
    """The DCGAN that diffusion is compared with: ``gan.json``."""

    FILE: ClassVar[str] = "gan.json"
    STAGES: ClassVar[tuple[str, ...]] = ("gan",)
    NAN: ClassVar[bool] = True

    losses: Any = Field(description="training losses per step")
    classes: tuple[str, ...] = Field(description="class names")
    side: int = Field(description="side of its images in pixels")


class LikelihoodFacts(JsonRecord):
    """Bits per dimension of images a pixel model has not seen: ``likelihood.json``."""

    FILE: ClassVar[str] = "likelihood.json"
    STAGES: ClassVar[tuple[str, ...]] = ("likelihood",)
    NAN: ClassVar[bool] = True

    n: int = Field(description="images")
    part: str = Field(description="part of the split they are from")
    given: str = Field(description="what the model was told of them")
    bits_per_dimension: dict[str, float | None] = Field(description="{value, low, high}")


def read_vae(folder: Path) -> VaeFacts:
    """Read ``vae.json`` (DataError: absent, damaged, or a key is missing)."""
    return VaeFacts.read(folder)


def read_denoiser(folder: Path) -> DenoiserFacts:
    """Read ``denoiser.json`` (DataError: absent, damaged, or a key is missing)."""
    return DenoiserFacts.read(folder)


def read_likelihood(folder: Path) -> LikelihoodFacts:
    """Read ``likelihood.json`` (DataError: absent, damaged, or a key is missing)."""
    return LikelihoodFacts.read(folder)


def open_latents(folder: Path) -> npt.NDArray[np.float32]:
    """Return ``latents.npy`` (N, 2, c, h, w) float32 as a read-only memmap (DataError: absent or damaged)."""
    return LATENTS.read(folder, mapped=True)
