"""Planned against real: trainings of small models run as in their stages, and torch's allocator says what they held.

A plan counts tensors; kernels take workspaces besides. So it may be above the truth by rounding alone, and below by the
workspace: next to nothing for classifiers and denoiser, up to 15 % for the VAE, whose SSIM is a grouped convolution.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.classifier.inputs import ImageRows
from engine.classifier.train import FitJob, make_plan, run_job
from engine.config import Config, parse_config
from engine.diffusion.dcgan import GanObjective, build_gan
from engine.diffusion.denoiser import Denoiser, build_denoiser
from engine.diffusion.distill import DistillObjective, Segments
from engine.diffusion.pretrained import prepare
from engine.diffusion.process import NoiseProcess
from engine.diffusion.schedule import alphas_bar, scheduler_config
from engine.diffusion.synthesis import guidance_of
from engine.diffusion.train import DenoiserData, DenoiserObjective, validation_loss
from engine.diffusion.vae import build_vae
from engine.diffusion.vae_train import VaeObjective
from engine.planning.live_memory import fake_tensors
from engine.planning.plan import PLANNERS
from engine.planning.setting import DataSize, Need, Setting
from engine.retrieval.tokenizer import build_tokenizer
from engine.retrieval.train import Examples
from engine.retrieval.train import fit as fit_clip
from engine.training.loop import train
from engine.training.plan import TrainEnv, TrainPlan
from engine.types import strings
from tests.engine.planning.allocated import most_allocated

CAPTIONS = strings(
    [f"dermoscopy of mel on the back, female, age {10 * k}-{10 * k + 9}" for k in range(8)] * 8
)
WORDS = build_tokenizer(CAPTIONS.tolist())
DATA = DataSize(train=64, classes=7, captions=8, words=len(WORDS), tokens=WORDS.model_max_length)
CLOSE, SSIM = (0.97, 1.02), (0.84, 1.02)
"""Bounds of planned / measured."""


def planned(config: Config, stage: str) -> int:
    """Return the planned peak without the data that a stage holds beside its training."""
    with fake_tensors():
        need = PLANNERS[stage](Setting(config=config, data=DATA, gpu=False))
    assert isinstance(need, Need)
    return need.peak - need.parts.get("data", 0)


def images(side: int) -> Any:
    return np.random.default_rng(0).integers(0, 255, (DATA.train, side, side, 3), dtype=np.uint8)


def classifier(config: Config, folder: Path) -> Callable[[], Any]:
    section, side = config.classifier, config.data.image_size
    np.save(folder / "images.npy", images(side))
    job = FitJob(
        images=ImageRows.of(folder / "images.npy", np.arange(DATA.train)),
        labels_N=np.arange(DATA.train) % DATA.classes,
        classes=tuple("abcdefg"),
        image_size=side,
        config=section,
        plan=make_plan(section, "classifier", 0, 3, 1e-3),
        augment=section.augment,
        weights=folder / "classifier.safetensors",
        checkpoint=folder / "checkpoint",
    )
    return lambda: run_job(job, TrainEnv())


def denoiser(config: Config, folder: Path) -> Callable[[], Any]:
    section, embedder = config.denoiser, config.embedder
    channels, side, _ = Setting(config=config, data=DATA, gpu=False).latent
    rng = np.random.default_rng(0)
    data = DenoiserData(
        latents_N2chw=rng.random((DATA.train, 2, channels, side, side), dtype=np.float32),
        levels_NLD=rng.random((DATA.train, embedder.levels, embedder.width), dtype=np.float32),
        neighbours_NK=np.zeros((DATA.train, 5), dtype=np.int64),
        prompts_UPW=torch.zeros(DATA.captions, DATA.tokens, embedder.width),
        prompt_of_N=np.zeros(DATA.train, dtype=np.int64),
        null_prompt_PW=torch.zeros(DATA.tokens, embedder.width),
    )
    env = TrainEnv(precision=config.backend.precision)

    def work() -> None:
        model = build_denoiser(section, channels, side, embedder.width, embedder.width, 0)
        if section.distill is not None:
            teach(model, data, config, env, folder)
            return
        abar_T = alphas_bar(scheduler_config(section.schedule, section.prediction))
        objective = DenoiserObjective(
            model=model, data=data, config=section, fuse=embedder.fuse, abar_T=abar_T, env=env
        )

        prepare(model, section, env)
        plan = TrainPlan.of(section, name="d", seed=0, ema=section.ema, accumulate=section.accumulate)
        train(
            model,
            objective,
            np.ones(DATA.train),
            plan,
            env,
            folder,
            Look(objective) if section.validations else None,
        )

    return work


@dataclass(frozen=True)
class Look:
    """The held-out loss after each step. No class of a function: those are freed late, within the next measurement."""

    objective: DenoiserObjective

    def looks_at(self, steps_done: int) -> bool:
        return True

    def __call__(self, steps_done: int) -> None:
        validation_loss(self.objective, np.arange(8), 0)


def teach(teacher: Denoiser, data: DenoiserData, config: Config, env: TrainEnv, folder: Path) -> None:
    """Train a student as stage distill does."""
    section = config.denoiser
    assert section.distill is not None
    process = NoiseProcess(scheduler_config(section.schedule, section.prediction))
    objective = DistillObjective(
        model=copy.deepcopy(teacher),
        teacher=teacher.eval().requires_grad_(False),
        data=data,
        config=section,
        guidance=guidance_of(config.synthesis),
        fuse=config.embedder.fuse,
        segments=Segments(process=process, count=section.distill.steps, teacher_steps=3),
        env=env,
    )
    plan = TrainPlan.of(section, name="distill", seed=0, ema=section.ema)
    train(objective.model, objective, np.ones(DATA.train), plan, env, folder)


def vae(config: Config, folder: Path) -> Callable[[], Any]:
    section, side = config.vae, config.data.image_size
    pictures, env = images(side), TrainEnv()

    def work() -> None:
        model = build_vae(section, side, 0)
        prepare(model, section, env)
        objective = VaeObjective(vae=model, images=lambda rows: pictures[rows], config=section, env=env)
        plan = TrainPlan.of(section, name="v", seed=0, accumulate=section.accumulate)
        train(model, objective, np.ones(DATA.train), plan, env, folder)

    return work


def gan(config: Config, folder: Path) -> Callable[[], Any]:
    section, side = config.gan, config.data.image_size
    pictures, env, labels_N = images(side), TrainEnv(), np.arange(DATA.train) % DATA.classes

    def work() -> None:
        made = build_gan(section, DATA.classes, side, 0)
        objective = GanObjective(
            gan=made, images=lambda rows: pictures[rows], labels_N=labels_N, config=section, env=env
        )
        plan = TrainPlan.of(section, name="g", seed=0, ema=section.ema)
        train(made, objective, np.ones(DATA.train), plan, env, folder)

    return work


def embedder(config: Config, folder: Path) -> Callable[[], Any]:
    side, pictures = config.data.image_size, images(config.data.image_size)
    examples = Examples(
        captions=CAPTIONS,
        lesion_id=strings([f"lesion {row}" for row in range(DATA.train)]),
        label_N=np.arange(DATA.train) % DATA.classes,
        image_size=side,
        views=lambda rows: (pictures[rows], pictures[rows]),
    )
    return lambda: fit_clip(config.embedder, examples, folder / "clip", folder / "checkpoint", 0, TrainEnv())


STAGES = {
    "classifier": classifier,
    "denoiser": denoiser,
    "distill": denoiser,
    "vae": vae,
    "gan": gan,
    "embedder": embedder,
}
FEW = {"steps": 2, "checkpoint_every": 1}
TINY_UNET = {**FEW, "widths": [32, 64], "batch_size": 16, "validations": 0, "attention_side": 16}
CASES: dict[str, tuple[str, dict[str, Any], tuple[float, float]]] = {
    "a classifier, most in a checkpoint": (
        "classifier",
        {"classifier": {**FEW, "model": "resnet18", "batch_size": 8}, "data": {"image_size": 32}},
        CLOSE,
    ),
    "a classifier, most in a step": (
        "classifier",
        {"classifier": {**FEW, "model": "regnetx_004", "batch_size": 64}, "data": {"image_size": 64}},
        CLOSE,
    ),
    "a denoiser": ("denoiser", {"denoiser": TINY_UNET}, CLOSE),
    "with gradient checkpointing": (
        "denoiser",
        {"denoiser": {**TINY_UNET, "gradient_checkpointing": True}},
        CLOSE,
    ),
    "in pieces": ("denoiser", {"denoiser": {**TINY_UNET, "accumulate": 4}}, CLOSE),
    "moments in 8 bit, most in a step": (
        "denoiser",
        {"denoiser": {**TINY_UNET, "optimizer": "adamw8bit"}},
        CLOSE,
    ),
    "moments in 8 bit, most where weights are updated": (
        "denoiser",
        {"denoiser": {**TINY_UNET, "widths": [64, 256], "batch_size": 1, "optimizer": "adamw8bit"}},
        CLOSE,
    ),
    "in bf16": ("denoiser", {"denoiser": TINY_UNET, "backend": {"precision": "bf16"}}, CLOSE),
    "most in a look": ("denoiser", {"denoiser": {**TINY_UNET, "batch_size": 2, "validations": 2}}, CLOSE),
    "a student": ("distill", {"denoiser": {**TINY_UNET, "distill": {}}}, (0.9, 1.02)),
    "a GAN": ("gan", {"gan": {**FEW, "width": 16}, "data": {"image_size": 32}}, (0.93, 1.02)),
    "a small CLIP": (
        "embedder",
        {"embedder": {**FEW, "batch_size": 32}, "data": {"image_size": 32}},
        (0.95, 1.03),
    ),
    "a VAE": ("vae", {"vae": {**FEW, "batch_size": 8}, "data": {"image_size": 32}}, SSIM),
    "a VAE with gradient checkpointing": (
        "vae",
        {"vae": {**FEW, "batch_size": 16, "gradient_checkpointing": True}, "data": {"image_size": 32}},
        SSIM,
    ),
    "a VAE without SSIM": (
        "vae",
        {"vae": {**FEW, "batch_size": 8, "loss": {"ssim": 0.0}}, "data": {"image_size": 32}},
        (0.94, 1.02),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_a_plan_is_what_the_allocator_gives_out(name: str, tmp_path: Path) -> None:
    stage, tree, (low, high) = CASES[name]
    config = parse_config(tree)
    measured = most_allocated(STAGES[stage](config, tmp_path))
    share = planned(config, stage) / measured
    print(f"{name}: planned / measured {share:.3f} of {measured / 2**20:.1f} MiB")
    assert low < share < high


@pytest.mark.slow
def test_checkpointing_and_pieces_save_what_is_planned(tmp_path: Path) -> None:
    trees = [TINY_UNET, {**TINY_UNET, "gradient_checkpointing": True}, {**TINY_UNET, "accumulate": 4}]
    whole, checkpointed, pieces = (planned(parse_config({"denoiser": tree}), "denoiser") for tree in trees)
    assert checkpointed < whole and pieces < whole
