"""Stage ``distill``: teach a student of the denoiser to sample in a few evaluations, guidance included."""

from __future__ import annotations

from pathlib import Path

from engine.artifacts import generator_parts
from engine.artifacts.generator_parts import DenoiserFacts
from engine.config import Config, DenoiserConfig
from engine.diffusion.adapter import gammas
from engine.diffusion.attention import choose_attention
from engine.diffusion.denoiser import load_denoiser, save_denoiser
from engine.diffusion.distill import Distances, DistillObjective, Segments, distances
from engine.diffusion.guidance import Guidance
from engine.diffusion.pretrained import prepare
from engine.diffusion.process import NoiseProcess
from engine.diffusion.trained_part import choose_trained, merge
from engine.parts.context import StageContext, launch_fit
from engine.parts.denoiser_data import open_denoiser_images
from engine.parts.own_images import sees_unlabelled
from engine.stages import base
from engine.stages.outputs import File, Folder
from engine.training.loop import TrainLog, train
from engine.training.plan import TrainEnv, TrainPlan, derive_seed


class Params(base.GeneratorParams):
    """How the student is taught: the denoiser's section, with ``distill`` in it, and the guidance that it takes in."""

    denoiser: DenoiserConfig
    guidance_scale: float
    lesion_guidance_scale: float | None
    guidance_interval: tuple[float, float]
    strengths: tuple[float, ...]

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(
            denoiser=config.denoiser,
            guidance_scale=config.synthesis.guidance_scale,
            lesion_guidance_scale=config.synthesis.lesion_guidance_scale,
            guidance_interval=config.synthesis.guidance_interval,
            strengths=tuple(config.synthesis.strengths),
            unlabelled=sees_unlabelled(config),
        )

    @property
    def guidance(self) -> Guidance:
        """The teacher's guidance."""
        return Guidance(
            scale=self.guidance_scale,
            lesion_scale=self.lesion_guidance_scale,
            interval=self.guidance_interval,
        )


def run(context: StageContext, params: Params) -> None:
    """Fill ``unet/``, ``adapter.safetensors`` and ``denoiser.json`` as stage denoiser does, of the student."""
    launch_fit(
        context,
        fit,
        inputs=dict(context.inputs),
        unlabelled=params.unlabelled,
        config=params.denoiser,
        guidance=params.guidance,
        strengths=params.strengths,
    )


def fit(
    env: TrainEnv,
    *,
    inputs: dict[str, Path],
    unlabelled: bool,
    config: DenoiserConfig,
    guidance: Guidance,
    strengths: tuple[float, ...],
    seed: int,
    checkpoint: Path,
    out: Path,
) -> None:
    """Train in this worker; the main one compares student and teacher on held-out lesions and writes."""
    env.begin()
    assert config.distill is not None
    images = open_denoiser_images(inputs, config, unlabelled=unlabelled, device=env.device)
    facts = generator_parts.read_denoiser(inputs["denoiser"])
    student = load_denoiser(inputs["denoiser"]).requires_grad_(True).train()
    student.unet.register_to_config(_name_or_path=facts.pretrained or "")  # not the folder on this machine
    choose_trained(student, config, derive_seed(seed, "distill", "lora"))
    objective = DistillObjective(
        model=student,
        teacher=load_denoiser(inputs["denoiser"], env.device),
        data=images.data,
        config=config,
        guidance=guidance,
        fuse=facts.fuse,
        segments=Segments(
            process=NoiseProcess(facts.scheduler),
            count=config.distill.steps,
            teacher_steps=config.distill.teacher_steps,
            fresh=config.distill.fresh,
            strengths=strengths,
        ),
        env=env,
    )
    plan = TrainPlan.of(
        config,
        name="distill",
        seed=seed,
        steps=config.distill.train_steps,
        lr=config.distill.lr,
        ema=config.ema,
        accumulate=config.accumulate,
    )
    prepare(student, config, env)
    choose_attention(objective.teacher, env)
    log = train(student, objective, images.weights_N, plan, env, checkpoint)
    if env.is_main:
        merge(student)
        student.eval()
        save_denoiser(student, out)
        apart = distances(objective, images.aside, seed)
        _write_facts(out, facts, objective, log, len(images.aside), apart)


def _write_facts(
    out: Path,
    teacher: DenoiserFacts,
    objective: DistillObjective,
    log: TrainLog,
    held_out: int,
    apart: Distances | None,
) -> None:
    DenoiserFacts(
        pretrained=teacher.pretrained,
        remade=teacher.remade,
        losses=tuple(log.losses),
        held_out=held_out,
        gammas=gammas(objective.model.adapters),
        parameters=teacher.parameters,
        scheduler=teacher.scheduler,
        fuse=teacher.fuse,
        beta=teacher.beta,
        few_steps=objective.segments.count,
        visited=tuple(objective.segments.visited),
        fresh=objective.segments.fresh,
        distance=apart.student if apart else None,
        distance_teacher=apart.teacher if apart else None,
    ).write(out)


STAGE = base.Stage(
    name="distill",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "index", "latents", "denoiser"),
    trains=True,
    saving="lower denoiser.batch_size, raise denoiser.accumulate, set denoiser.gradient_checkpointing=true, or drop "
    "denoiser.distill",
    foundation=True,
    wanted=lambda config: config.synthesis.generator == "diffusion" and config.denoiser.distill is not None,
    units=lambda params, _sizes: params.denoiser.distill.train_steps if params.denoiser.distill else 0,
    files=(
        Folder("unet", "the student, a plain diffusers UNet2DConditionModel"),
        File("adapter.safetensors", "its lesion adapters"),
        DenoiserFacts,
    ),
)
