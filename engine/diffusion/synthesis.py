"""Synthesizes images from conditioning: fixed chunks, noise from each sample's own seed, the same bytes anywhere.

Shape legend: B samples of a chunk, L levels, D lesion width, P prompt tokens, W width, H image side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from engine.config import SynthesisConfig
from engine.diffusion.codec import LatentCodec
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import Guidance, GuidedDenoiser
from engine.diffusion.inpaint import SKIN_STRENGTH, known_outside, latent_mask, smooth_fill, toward
from engine.diffusion.process import NoiseProcess
from engine.diffusion.prompt import EMPTY, PromptEncoder
from engine.diffusion.samplers.few_step import FewStep, visited_timesteps
from engine.diffusion.samplers.sampling import Predict, Sampler, SamplerSettings, sample_noise
from engine.diffusion.samplers.table import make_sampler
from engine.diffusion.states import State
from engine.diffusion.steering import LogitsFn, Steering, steered
from engine.diffusion.tokens import fuse_levels
from engine.errors import StageError
from engine.types import FloatArray, ImageArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Synthesized:
    """Images (B, H, W, 3) uint8, how often the denoiser ran for each (NFE, guidance branches included), and states."""

    images_BHWC: ImageArray
    evaluations: int
    states: tuple[State, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Guides:
    """The classifiers whose gradients guide: ``classes`` are the columns of their logits."""

    classes: tuple[str, ...]
    judge: LogitsFn | None = None
    opponent: LogitsFn | None = None


@dataclass(frozen=True, kw_only=True)
class Student:
    """What a distilled denoiser was taught: its evaluations from noise, the timesteps it knows, the noise it expects."""

    steps: int
    visited: tuple[int, ...]
    fresh: float = 0.0


@dataclass
class Counted:
    """Counts the denoiser's evaluations per sample."""

    predict: GuidedDenoiser
    evaluations: int = 0

    def __call__(self, noisy_Bchw: Tensor, timestep: float) -> Tensor:
        """Return the guided prediction."""
        self.evaluations += self.predict.guidance.branches(timestep)
        return self.predict(noisy_Bchw, timestep)


@dataclass(frozen=True, kw_only=True)
class Synthesizer:
    """A denoiser, its codec and prompts, and how to sample from them.

    ``scheduler_config`` is the noise schedule the denoiser was trained with; ``beta`` the adapter's strength;
    ``shape`` a latent's (c, h, w). A ``student`` has its own sampler, steps and guidance.
    """

    model: Denoiser
    codec: LatentCodec
    prompts: PromptEncoder
    config: SynthesisConfig
    scheduler_config: dict[str, Any]
    fuse: str
    beta: float
    shape: tuple[int, int, int]
    device: str = "cpu"
    guides: Guides | None = None
    student: Student | None = None

    @torch.no_grad()
    def synthesize(
        self,
        levels_BLD: FloatArray,
        prompts: Sequence[str],
        seed_B: IntArray,
        parents_BHWC: ImageArray | None = None,
        *,
        labels: Sequence[str] = (),
        masks_BHW: ImageArray | None = None,
        states: int = 0,
    ) -> Synthesized:
        """Return uint8 images, at most ``synthesis.batch_size`` of them, one a row of the conditioning.

        A short chunk is filled up with its first sample, so that a sample's bytes do not depend on the others.
        ``parents_BHWC`` is needed when ``synthesis.strength`` is below 1, the classes ``labels`` when gradients guide,
        the parents' lesion masks with ``synthesis.skin_share``. ``states`` asks for so many looks at what the sampler
        had on the way, evenly spaced over its steps.
        """
        count = len(seed_B)
        fill = np.concatenate([np.arange(count), np.zeros(self.config.batch_size - count, dtype=np.int64)])
        generators = [torch.Generator().manual_seed(int(seed)) for seed in np.asarray(seed_B)[fill]]
        noise = sample_noise(self.shape, generators, self.device)
        parents = None
        if self.config.edits:
            assert parents_BHWC is not None
            parents = self.codec.encode(parents_BHWC[fill])
            if self.config.skin_share > 0:
                assert masks_BHW is not None
                skin = self.skin(parents, torch.from_numpy(masks_BHW[fill]), generators)
                parents = toward(parents, skin, self.config.skin_share)
        counted = Counted(self._guided(levels_BLD[fill], [prompts[i] for i in fill]))
        predict = self._steered(counted, [labels[i] for i in fill]) if self.config.steers else counted
        seen: list[tuple[float, Tensor, Tensor]] = []

        def watch(timestep: float, latent: Tensor, clean: Tensor) -> None:
            seen.append((timestep, latent[:count].cpu(), clean[:count].cpu()))

        sampler = sampler_of(self.config, self.scheduler_config, self.student)
        latent = sampler.run(predict, noise, generators, parents, watch if states else None)
        if not bool(torch.isfinite(latent).all()):
            raise StageError(
                f"synthesize: latents are not finite after {self.config.steps} steps of {self.config.sampler}; "
                "raise synthesis.steps or lower the guidance scales"
            )
        return Synthesized(
            images_BHWC=self.codec.decode(latent)[:count],
            evaluations=counted.evaluations,
            states=tuple(self._states(seen, states)),
        )

    @torch.no_grad()
    def skin(self, parent_Bchw: Tensor, mask_BHW: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return latents of the parents' pseudo-normal skin: the lesion is painted over, all else is kept.

        The masked part is filled smoothly, noised to SKIN_STRENGTH and denoised without prompt or lesion.
        """
        count, side = len(parent_Bchw), parent_Bchw.shape[-1]
        mask = latent_mask(mask_BHW.to(self.device), side)
        states, _ = self.prompts.encode_unique([EMPTY])
        width = self.model.null_D.shape[0]
        bare = GuidedDenoiser(
            model=self.model,
            guidance=Guidance(),
            prompt_BPW=states[:1].expand(count, -1, -1),
            null_prompt_PW=states[0],
            lesion_BTD=self.model.null_lesion(count, 1).reshape(count, 1, width),
            beta=self.beta,
        )
        process = NoiseProcess(self.scheduler_config)
        settings = SamplerSettings(scheduler_config=self.scheduler_config, steps=16, strength=SKIN_STRENGTH)
        noise = sample_noise(parent_Bchw.shape[1:], generators, self.device)
        known = known_outside(bare, process, parent_Bchw, mask)
        painted = make_sampler("dpmpp", settings).run(
            known, noise, generators, smooth_fill(parent_Bchw, mask)
        )
        return torch.where(mask, painted, parent_Bchw)

    def _states(self, seen: Sequence[tuple[float, Tensor, Tensor]], count: int) -> Iterator[State]:
        chosen: list[int] = (
            np.unique(np.linspace(0, len(seen) - 1, count).round().astype(int)).tolist() if seen else []
        )
        for index in chosen:
            timestep, latent, clean = seen[index]
            noisy, estimate = (self.codec.decode(x.to(self.device)) for x in (latent, clean))
            yield State(timestep=timestep, noisy_BHWC=noisy, clean_BHWC=estimate)

    def _steered(self, predict: Predict, labels: Sequence[str]) -> Predict:
        guides, config = self.guides, self.config
        assert guides is not None
        column = {name: index for index, name in enumerate(guides.classes)}
        steering = Steering(
            decode=self.codec.to_pixels,
            label_B=torch.tensor([column[label] for label in labels], device=self.device),
            judge=guides.judge,
            opponent=guides.opponent,
            classifier_scale=config.classifier_scale,
            adversarial_scale=config.adversarial_scale,
            kind=config.adversarial_objective,
            keep=config.adversarial_keep,
            interval=config.gradient_interval,
            bound=config.gradient_bound,
        )
        return steered(predict, NoiseProcess(self.scheduler_config), steering)

    def _guided(self, levels_BLD: FloatArray, prompts: Sequence[str]) -> GuidedDenoiser:
        states_UPW, place = self.prompts.encode_unique([EMPTY, *prompts])
        lesion = torch.from_numpy(np.ascontiguousarray(levels_BLD)).float().to(self.device)
        return GuidedDenoiser(
            model=self.model,
            guidance=guidance_of(self.config) if self.student is None else Guidance(),
            prompt_BPW=states_UPW[torch.from_numpy(place[1:]).to(states_UPW.device)],
            null_prompt_PW=states_UPW[int(place[0])],
            lesion_BTD=fuse_levels(lesion, self.fuse),
            beta=self.beta,
        )


def guidance_of(config: SynthesisConfig) -> Guidance:
    """Return the guidance the ``synthesis`` section asks for."""
    return Guidance(
        scale=config.guidance_scale,
        lesion_scale=config.lesion_guidance_scale,
        interval=config.guidance_interval,
    )


def sampler_of(
    config: SynthesisConfig, scheduler_config: dict[str, Any], student: Student | None = None
) -> Sampler:
    """Return the sampler the ``synthesis`` section asks for (a student's own), with one strength for all samples.

    Raises:
        TypeError: ``strength`` is a range.
        StageError: the student was not taught this strength.
    """
    if not isinstance(config.strength, float):
        raise TypeError("a batch has one strength; see StrengthRange.at")
    settings = SamplerSettings(
        scheduler_config=scheduler_config,
        steps=config.steps if student is None else student.steps,
        strength=config.strength,
        solver=config.solver,
        tolerance=config.tolerance,
        corrector_snr=config.corrector_snr,
        langevin_inner=config.langevin_inner,
        langevin_step=config.langevin_step,
    )
    if student is None:
        return make_sampler(config.sampler, settings)
    visited = visited_timesteps(NoiseProcess(scheduler_config), student.steps, config.strength)
    if not set(visited) <= set(student.visited):
        raise StageError(
            f"synthesize: the student of the denoiser was not taught synthesis.strength {config.strength:g}; "
            "run stage distill with it"
        )
    return FewStep(settings, student.fresh)


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 (hex) of every safetensors file below ``folder``, by sorted path."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def save_png(image_HWC: npt.NDArray[np.uint8], path: Path | BinaryIO) -> None:
    """Write one uint8 RGB image into a file; the bytes depend on the pixels alone (fixed compression, no metadata)."""
    Image.fromarray(image_HWC).save(path, format="PNG", compress_level=6)
