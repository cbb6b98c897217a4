"""Stage ``likelihood``: how many bits per dimension a diffusion model of pixels needs for images it has not seen.

Shape legend: S images, B images of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.artifacts.generator_parts import LikelihoodFacts
from engine.config import Config, SynthesisConfig
from engine.data.captions import captions
from engine.diffusion.guidance import Guidance, GuidedDenoiser
from engine.diffusion.likelihood import Likelihood, bits_per_dimension
from engine.diffusion.process import NoiseProcess
from engine.diffusion.prompt import EMPTY
from engine.evaluation.statistics import group_weights, interval
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.generators.diffusion import open_synthesizer
from engine.stages import base
from engine.training.plan import TrainEnv, derive_seed
from engine.types import FloatArray, IntArray

PART = "val"
CHUNK = 32
DRAWS = 1000


class Params(base.Params):
    """How many val images are measured, and whose text tower made the prompts."""

    images: int
    pretrained: str | None

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` measures."""
        return cls(images=config.evaluation.likelihood, pretrained=config.denoiser.pretrained)


def run(context: StageContext, params: Params) -> None:
    """Fill ``likelihood.json``: {n, part, given, bits_per_dimension {value, low, high}}.

    The images are spread over the part; each is given its caption and no lesion. Fewer are taken where the part is
    smaller.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    part = dataset.where(PART)
    count = min(params.images, len(part))
    chosen = part[np.linspace(0, len(part) - 1, count).round().astype(np.int64)]
    worker = LikelihoodWorker(
        inputs=dict(context.inputs),
        pretrained=params.pretrained,
        seed=context.seed,
        device=context.device,
        threads=context.threads,
    )
    chunks = [chosen[i : i + CHUNK] for i in range(0, count, CHUNK)]
    bits_S = np.concatenate([np.zeros(0), *context.map(worker, chunks, "likelihood")])
    groups, group_S = np.unique(dataset.group_N[chosen], return_inverse=True)
    rng = np.random.default_rng(derive_seed(context.seed, "likelihood", "draws"))
    weight_DS = group_weights(len(groups), DRAWS, rng)[:, group_S]
    found = interval(float(bits_S.mean()), weight_DS @ bits_S / weight_DS.sum(axis=1))
    facts = LikelihoodFacts(
        n=count,
        part=PART,
        given="the caption, no lesion",
        bits_per_dimension={"value": found["value"], "low": found["low"], "high": found["high"]},
    )
    facts.write(context.out)


@dataclass(frozen=True, kw_only=True)
class LikelihoodWorker:
    """Picklable: positions of images (B,) in the dataset -> bits per dimension (B,)."""

    inputs: Mapping[str, Path]
    pretrained: str | None
    seed: int
    device: str
    threads: int

    def load(self) -> Callable[[IntArray], FloatArray]:
        """Open denoiser, codec and prompts."""
        TrainEnv(device=self.device, threads=self.threads, precision="float32").begin()
        dataset = open_dataset(self.inputs["images"], self.inputs["split"])
        made = open_synthesizer(self.inputs, SynthesisConfig(), self.pretrained, self.device)
        null = torch.as_tensor(made.prompts.encode([EMPTY])[0])
        process = NoiseProcess(made.scheduler_config)

        def bits(positions: IntArray) -> FloatArray:
            prompts = torch.as_tensor(made.prompts.encode(captions(dataset.table.take(positions))))
            predict = GuidedDenoiser(
                model=made.model,
                guidance=Guidance(),
                prompt_BPW=prompts.to(self.device),
                null_prompt_PW=null.to(self.device),
                lesion_BTD=_no_lesion(made.model, len(positions)),
                beta=made.beta,
            )
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "likelihood", int(positions[0])))
            images = np.asarray(dataset.images_NHWC[dataset.rows[positions]])
            return bits_per_dimension(
                Likelihood(predict=predict, process=process), made.codec, images, generator
            )

        return bits


def _no_lesion(model: Any, count: int) -> Tensor:
    tokens: Tensor = model.null_lesion(count, 1).detach()
    return tokens


STAGE = base.Stage(
    name="likelihood",
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "vae", "denoiser"),
    maps=True,
    foundation=True,
    wanted=lambda config: config.evaluation.likelihood > 0,
    units=lambda params, sizes: sizes.chunks(params.images),
    files=(LikelihoodFacts,),
)
