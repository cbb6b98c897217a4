"""Distillation by hand, and on a distribution whose flow is known: the student ends where the guided teacher's path does."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from engine.config import parse_config
from engine.diffusion.distill import LARGEST_WEIGHT, DistillObjective, Segments, distances
from engine.diffusion.guidance import Guidance
from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers.few_step import segment_ends
from engine.diffusion.schedule import scheduler_config
from engine.diffusion.train import DenoiserData, Draws
from engine.training.loop import train
from engine.training.plan import TrainEnv, TrainPlan
from tests.engine.diffusion.samplers.test_table import MEAN, STD

IMAGES = 64
NONE = Guidance()
PULL = 0.5
"""By how much the prompt moves the mean of the toy data."""


def segments_of(count=4, teacher_steps=3, schedule="scaled_linear", **more):
    process = NoiseProcess(scheduler_config(schedule, "v"))
    return Segments(process=process, count=count, teacher_steps=teacher_steps, **more)


class Linear(nn.Module):
    """A denoiser of normal data: its output is a line in x, with slope and offset of each timestep.

    It starts exact, for N(MEAN + PULL prompt, STD^2); what is learned is added to it.
    """

    def __init__(self, process):
        super().__init__()
        steps = range(process.last + 1)
        signal, noise = (torch.tensor([of(u) for u in steps]) for of in (process.signal, process.noise))
        shrink = signal * STD**2 / ((signal * STD) ** 2 + noise**2)
        self.register_buffer("slope", (signal - shrink) / noise)
        self.register_buffer("offset", (signal * shrink - 1) / noise)
        self.more = nn.Parameter(torch.zeros(2, process.last + 1))

    def null_lesion(self, count, tokens):
        return torch.zeros(count, tokens, 1)

    def forward(self, noisy, timestep, prompt, lesion, beta):
        more = self.more[:, timestep]
        mean = MEAN + PULL * prompt[:, 0, 0]
        slope, offset = self.slope[timestep] + more[0], self.offset[timestep] * mean + more[1]
        return slope[:, None, None, None] * noisy + offset[:, None, None, None]


def objective(count=4, teacher_steps=3, guidance=NONE, prompt=0.0, fresh=0.0):
    segments = segments_of(count, teacher_steps, fresh=fresh)
    student, teacher = Linear(segments.process), Linear(segments.process).requires_grad_(False)
    latents = (
        MEAN
        + PULL * prompt
        + STD * torch.randn(IMAGES, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    )
    data = DenoiserData(
        latents_N2chw=latents.numpy(),
        levels_NLD=np.ones((IMAGES, 1, 1), dtype=np.float32),
        neighbours_NK=np.zeros((IMAGES, 1), dtype=np.int64),
        prompts_UPW=torch.full((1, 1, 1), prompt),
        prompt_of_N=np.zeros(IMAGES, dtype=np.int64),
        null_prompt_PW=torch.zeros(1, 1),
    )
    config = parse_config({"denoiser": {"batch_size": 32, "guidance_tokens": "own"}}).denoiser
    return DistillObjective(
        model=student, teacher=teacher, data=data, config=config, guidance=guidance, fuse="mean",
        segments=segments, env=TrainEnv(),
    )  # fmt: skip


def test_the_teacher_goes_through_a_segment_in_its_steps():
    segments = segments_of()
    assert segment_ends(segments.process, 4) == [999, 749, 500, 250, -1]
    assert segments.path(999) == [999, 912, 829, 749]
    assert segments.path(500) == [500, 408, 324, 250]
    assert segments.path(250) == [250, 111, 27, -1]  # short steps near the clean end
    assert segments.path(251) == [251, 250]
    assert segments_of(teacher_steps=1).path(999) == [999, 749]


def test_with_fresh_noise_the_student_leads_further_in_more_steps():
    fresh = segments_of(fresh=1.0)
    assert [fresh.path(u)[-1] for u in (999, 749, 500, 250)] == [-1] * 4
    assert [len(fresh.path(u)) - 1 for u in (999, 749, 500, 250)] == [12, 9, 6, 3]
    half = segments_of(fresh=0.5)
    assert [half.path(u)[-1] for u in (999, 749, 500, 250)] == [374, 249, 125, -1]


@pytest.mark.parametrize("schedule", ["scaled_linear", "cosine", "linear"])
@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("fresh", [0.0, 0.4, 1.0])
def test_paths_fall_and_lead_to_the_clean_end(schedule, count, fresh):
    segments = segments_of(count, 5, schedule, fresh=fresh, strengths=(0.03, 0.31, 1.0))
    ends = segment_ends(segments.process, count)
    for u in segments.visited:
        path = segments.path(u)
        assert path[0] == u
        assert all(upper > lower for upper, lower in itertools.pairwise(path))
        assert path[-1] <= max(end for end in ends if end < u)
        assert path[-1] >= -1
    assert segments.path(segments.visited[0])[-1] == -1


def test_what_is_taught_is_what_samples_of_the_configs_strengths_visit():
    assert segments_of().visited == [250, 500, 749, 999]
    assert segments_of(strengths=(0.3, 0.7)).visited == [250, 300, 500, 699]
    assert segments_of(schedule="cosine").visited[-1] == int(segments_of(schedule="cosine").process.noisiest)


def conditions(count):
    noise = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return Draws.plain(torch.zeros(count).long(), noise)


def test_one_step_of_the_teacher_asks_for_its_own_estimate():
    it = objective(teacher_steps=1)
    _, teacher = it.both(np.arange(4), conditions(4))
    noisy = conditions(4).noise_Bchw
    for t in (999, 500, 250):
        clean, _ = it.segments.process.clean_and_noise(teacher(noisy, t), noisy, t)
        assert torch.allclose(it.wanted(teacher, noisy, t), clean, atol=1e-4)


def test_what_is_asked_for_leads_by_ddim_to_where_the_teachers_solver_comes():
    """Three steps by diffusers' DPM-Solver++ on the same timesteps, and the step of DDIM that stands for them."""
    from diffusers import DPMSolverMultistepScheduler

    it = objective()
    _, teacher = it.both(np.arange(1), conditions(1))
    process, noisy, t = it.segments.process, conditions(1).noise_Bchw, 999
    wanted = it.wanted(teacher, noisy, t)
    solver = DPMSolverMultistepScheduler(**process.scheduler_config, solver_order=2, lower_order_final=False)
    solver.set_timesteps(timesteps=[999, 912, 829, 749])
    latent = noisy
    for u in (999, 912, 829):
        latent = solver.step(teacher(latent, u), u, latent).prev_sample
    eps = (noisy - process.signal(t) * wanted) / process.noise(t)
    led = process.signal(749) * wanted + process.noise(749) * eps
    assert torch.allclose(led, latent, atol=1e-4)


@pytest.mark.parametrize("fresh", [0.0, 1.0])
@pytest.mark.parametrize("t", [999, 500, 250])
def test_more_steps_of_the_teacher_come_nearer_to_the_flow(t, fresh):
    """The flow of N(MEAN, STD^2) keeps a sample's place in the distribution."""
    noisy = conditions(1).noise_Bchw
    process, lower = segments_of().process, segments_of(fresh=fresh).path(t)[-1]

    def end(it):
        wanted = it.wanted(it.both(np.arange(1), conditions(1))[1], noisy, t)
        eps = (noisy - process.signal(t) * wanted) / process.noise(t)
        return process.signal(lower) * wanted + process.noise(lower) * eps

    def spread(u):
        return np.hypot(process.signal(u) * STD, process.noise(u))

    flow = process.signal(lower) * MEAN + spread(lower) / spread(t) * (noisy - process.signal(t) * MEAN)
    errors = [
        float((end(objective(teacher_steps=steps, fresh=fresh)) - flow).abs().mean()) for steps in (1, 4, 8)
    ]
    assert errors[1] < 0.4 * errors[0]
    assert errors[2] < max(0.6 * errors[1], 0.01 * STD)


def test_the_loss_by_hand():
    it = objective()
    draws = replace(conditions(4), timestep_B=torch.tensor([999, 740, 260, 249]))  # of 1000: a quarter each
    loss = it.loss(np.arange(4), draws).detach()
    process = it.segments.process
    for row, t in enumerate((999, 749, 500, 250)):
        one = slice(row, row + 1)
        noisy = process.noised(draws.noise_Bchw[one], it.data.latents(np.arange(4), draws)[one], t)
        student, teacher = it.both(np.arange(4)[one], conditions(1))
        clean, _ = process.clean_and_noise(student(noisy, t).detach(), noisy, t)
        snr = (process.signal(t) / process.noise(t)) ** 2
        error = float(((clean - it.wanted(teacher, noisy, t)) ** 2).mean())
        assert float(loss[row]) == pytest.approx(
            min(max(snr, 1.0), LARGEST_WEIGHT) * error, rel=1e-3, abs=1e-9
        )


@pytest.mark.parametrize("fresh", [0.0, 1.0])
@pytest.mark.parametrize("guidance", [Guidance(), Guidance(scale=3.0)])
def test_a_student_learns_to_end_where_the_guided_path_does(tmp_path, guidance, fresh):
    """The toy's slopes and offsets can express it: in two evaluations its end comes a hundred times nearer."""
    it = objective(count=2, teacher_steps=16, guidance=guidance, prompt=1.0, fresh=fresh)
    rows = np.arange(IMAGES)
    before = distances(it, rows, 0)
    assert before is not None
    if guidance.scale == 1.0:
        assert before.student == pytest.approx(before.teacher)
    plan = TrainPlan(
        name="distill", seed=0, steps=300, batch_size=32, lr=0.05, ema=0.99, lr_schedule="cosine"
    )
    train(it.model, it, np.ones(IMAGES), plan, TrainEnv(), tmp_path)
    after = distances(it, rows, 0)
    assert after is not None
    assert after.teacher == before.teacher
    assert after.student < 0.01 * min(before.student, before.teacher)


def test_without_held_out_lesions_nothing_is_compared():
    assert distances(objective(), np.zeros(0, dtype=np.int64), 0) is None


def test_the_share_of_a_worker_is_its_share_of_the_loss():
    whole = objective()
    rows = np.arange(32)
    parts = [replace(whole, env=TrainEnv(rank=rank, world=2)) for rank in range(2)]
    losses = [float(p(p.env.shard(rows), 0, torch.Generator().manual_seed(3)).detach()) for p in parts]
    assert np.mean(losses) == pytest.approx(
        float(whole(rows, 0, torch.Generator().manual_seed(3)).detach()), rel=1e-5
    )
