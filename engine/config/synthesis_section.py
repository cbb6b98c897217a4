"""The ``synthesis`` section: which generator makes the images, by which sampler, under which guidance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from engine.config.generator_sections import DenoiserConfig
from engine.config.sections import Fraction, Section, Steps

GeneratorName = Literal["diffusion", "dcgan", "classical", "retrieved"]
GENERATOR_PARTS: Mapping[GeneratorName, tuple[str, ...]] = {
    "diffusion": ("vae", "denoiser"),
    "dcgan": ("gan",),
    "classical": (),
    "retrieved": (),
}
"""The trained parts (foundation stages) each generator samples with, the one whose weights make the images last."""


def parts_sampled(generator: GeneratorName, denoiser: DenoiserConfig) -> tuple[str, ...]:
    """Return the parts that a generator samples with; a distilled denoiser's student stands in its place."""
    sampled = "denoiser" if denoiser.distill is None else "distill"
    return tuple(sampled if part == "denoiser" else part for part in GENERATOR_PARTS[generator])


LARGEST_VAE_CHUNK: Final = 32

SamplerName = Literal[
    "dpmpp",
    "dpmpp_sde",
    "unipc",
    "ddim",
    "ddpm",
    "euler_maruyama",
    "predictor_corrector",
    "probability_flow",
    "annealed_langevin",
]


Strength = Annotated[float, Field(gt=0.0, le=1.0)]
STRENGTH_STEPS: Final = 4
"""How many different strengths a range has: samples of one batch share theirs."""


class StrengthRange(Section):
    """A strength of its own for every parent, by how hard it is; a rank between two of them is rounded to one of 4 steps.

    Ours: the harder a parent, the nearer it lies to another class, and the milder an edit has to be to keep its own.
    """

    easiest: Strength = Field(0.7, description="of the easiest hard case")
    hardest: Strength = Field(0.3, description="of the hardest one")

    def at(self, difficulty: float) -> float:
        """Return the strength at a difficulty from 0 (easiest) to 1 (hardest)."""
        step = round(difficulty * (STRENGTH_STEPS - 1)) / (STRENGTH_STEPS - 1)
        return self.easiest + (self.hardest - self.easiest) * step


class SynthesisConfig(Section):
    """How hard cases become images."""

    generator: GeneratorName = Field(
        "diffusion", description="what makes the images; dcgan, classical and retrieved are to compare with"
    )
    sampler: SamplerName = Field(
        "dpmpp_sde",
        description="dpmpp_sde, dpmpp and unipc need 10-20 steps, ddpm 16-50, probability_flow 20, the others 100 or more; "
        "on briefly trained denoisers the stochastic ones (dpmpp_sde, ddpm) leave less grain",
    )
    steps: Annotated[int, Field(ge=1, le=1000)] = Field(
        16, description="noise levels a sample passes through (the adaptive solver chooses its own)"
    )
    solver: Literal["heun", "adaptive"] = Field(
        "heun", description="of probability_flow: Heun's method, or Dormand-Prince to a tolerance"
    )
    tolerance: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        1e-3, description="of the adaptive solver, relative and absolute"
    )
    corrector_snr: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.16,
        description="of predictor_corrector: signal-to-noise ratio of the Langevin step (Song et al. 2021)",
    )
    langevin_inner: Annotated[int, Field(ge=1, le=1000)] = Field(
        3, description="of annealed_langevin: steps a noise level"
    )
    langevin_step: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.3, description="of annealed_langevin: step size, in squares of the noise level"
    )
    strength: Strength | StrengthRange = Field(
        1.0,
        description="1: from noise; below: edit the parent image, noised to this share of the way; "
        "{easiest: 0.7, hardest: 0.3}: harder parents are edited less",
    )
    skin_share: Fraction = Field(
        0.0,
        description="with strength below 1: move the parent this share of the way to pseudo-normal skin, in latent space",
    )
    guidance_scale: Annotated[float, Field(ge=1.0)] = Field(
        1.5, description="classifier-free guidance; 1: none"
    )
    lesion_guidance_scale: Annotated[float, Field(ge=1.0)] | None = Field(
        None, description="own scale for the lesion embedding; null: as guidance_scale"
    )
    guidance_interval: tuple[Fraction, Fraction] = Field(
        (0.0, 1.0),
        strict=False,
        description="share of the noise range (0 clean, 1 noise) in which guidance acts",
    )
    beta: Annotated[float, Field(ge=0.0)] | None = Field(
        None, description="adapter strength while sampling; null: denoiser.beta"
    )
    classifier_scale: Annotated[float, Field(ge=0.0)] = Field(
        0.0,
        description="classifier guidance: pull toward the class as one fold of the judge sees it; 0: none",
    )
    adversarial_scale: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="adversarial guidance: push toward what the current classifier gets wrong; 0: none"
    )
    adversarial_objective: Literal["loss", "entropy", "margin"] = Field(
        "loss",
        description="what adversarial guidance raises: the classifier's loss, entropy or margin of error",
    )
    adversarial_keep: Annotated[float, Field(ge=0.0)] = Field(
        1.0, description="how strongly a fold of the judge keeps the class, in units of adversarial_scale"
    )
    gradient_interval: tuple[Fraction, Fraction] = Field(
        (0.0, 0.7),
        strict=False,
        description="share of the noise range in which classifier and adversarial guidance act",
    )
    gradient_bound: Annotated[float, Field(gt=0.0)] = Field(
        0.3,
        description="largest move of the estimated image a step, root mean square in latent standard deviations",
    )
    states: Annotated[int, Field(ge=0, le=24)] = Field(
        0,
        description="looks on the way from noise to image, drawn as states.png for a round's first samples; 0: none",
    )
    batch_size: Steps = Field(
        32, description="samples per batch; fixed, because float32 results depend on it"
    )
    labels: Literal["hard", "soft"] = Field(
        "hard",
        description="what synthetic images are taught as: hard, their parent's class; soft, the judge's calibrated "
        "probabilities",
    )
    label_temperature: Annotated[float, Field(gt=0.0)] = Field(
        1.0,
        description="of soft labels, on top of the judge's calibration: above 1 flattens them, below 1 sharpens",
    )
    label_share: Fraction = Field(
        0.0, description="of soft labels: share kept for the class that was intended; 1: hard labels"
    )
    weight: Annotated[float, Field(gt=0.0)] = Field(
        1.0, description="of a synthetic image in the loss; a real image has 1"
    )

    @property
    def vae_chunk(self) -> int:
        """Images that the VAE encodes or decodes at a time: a whole batch, at most 32."""
        return min(self.batch_size, LARGEST_VAE_CHUNK)

    @property
    def edits(self) -> bool:
        """Whether samples start from their parents' images."""
        return isinstance(self.strength, StrengthRange) or self.strength < 1.0

    def strength_at(self, difficulty: float) -> float:
        """Return the strength of a sample whose parent is so hard, from 0 (easiest) to 1."""
        return self.strength.at(difficulty) if isinstance(self.strength, StrengthRange) else self.strength

    @property
    def strengths(self) -> list[float]:
        """The strengths that samples have, rising."""
        ranks = range(STRENGTH_STEPS)
        return sorted({self.strength_at(rank / (STRENGTH_STEPS - 1)) for rank in ranks})

    @property
    def steers(self) -> bool:
        """Whether gradients of the judge or the classifier guide."""
        return self.classifier_scale > 0 or self.adversarial_scale > 0

    @model_validator(mode="after")
    def _interval(self) -> SynthesisConfig:
        for name in ("guidance_interval", "gradient_interval"):
            low, high = getattr(self, name)
            if low >= high:
                raise ValueError(f"{name} [{low:g}, {high:g}] must rise; 0 is clean, 1 is noise")
        if self.skin_share > 0 and not self.edits:
            raise ValueError("skin_share needs a parent to start from; set strength below 1, for example 0.5")
        if self.sampler not in ("ddim", "ddpm") and self.steps < 2:
            why = {
                "dpmpp": "of second order",
                "dpmpp_sde": "of second order",
                "unipc": "of second order",
                "probability_flow": "of second order",
            }
            raise ValueError(
                f"steps must be at least 2 for {self.sampler} ({why.get(self.sampler, 'ends with a denoising step')}); "
                "raise steps, or use ddim"
            )
        return self
