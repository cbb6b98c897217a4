"""Distillation by hand, and on a distribution whose flow is known: the student ends where the guided teacher's path does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from engine.config import parse_config
from engine.diffusion.distill import LARGEST_WEIGHT, DistillObjective, Segments, distances
from engine.diffusion.guidance import Guidance, GuidedDenoiser
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


def objective(count=4, teacher_steps=3, guidance=NONE, prompt=0.0):
    segments = segments_of(count, teacher_steps)
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
    at = torch.tensor([999, 750, 749, 500, 250, 2, 0])
    assert segments.end(at).tolist() == [749, 749, 500, 250, -1, -1, -1]
    assert segments.after(at, 1).tolist() == [912, 750, 661, 408, 111, 1, 0]
    assert segments.after(at, 2).tolist() == [829, 750, 578, 324, 27, 0, 0]
    assert segments.after(at, 3).tolist() == segments.end(at).tolist()


@pytest.mark.parametrize("schedule", ["scaled_linear", "cosine", "linear"])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_from_every_timestep_segments_lead_to_the_clean_end(schedule, count):
    segments = segments_of(count, 5, schedule)
    at = torch.arange(int(segments.process.noisiest) + 1)
    for _ in range(count):
        assert bool((segments.end(at) < at).all())
        ways = torch.stack([at, *(segments.after(at, step) for step in range(1, 6))])
        assert bool((ways.diff(dim=0) <= 0).all())
        assert torch.equal(ways[-1], segments.end(at))
        at = segments.end(at)
        at = at[at >= 0]
    assert len(at) == 0
    signal, noise = segments.levels(torch.tensor([-1, 0]))
    assert (float(signal[0]), float(noise[0])) == (1.0, 0.0)
    assert float(noise[1]) > 0


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
    noisy, t_B = conditions(4).noise_Bchw, torch.tensor([999, 501, 30, 0])
    wanted = it.wanted(teacher, noisy, t_B)
    for row, t in enumerate(t_B.tolist()):
        clean, _ = it.segments.process.clean_and_noise(teacher(noisy, t)[row], noisy[row], t)
        assert torch.allclose(wanted[row], clean, atol=1e-4)


def test_what_is_asked_for_leads_by_ddim_to_where_the_teachers_solver_comes():
    """Three steps by diffusers' DPM-Solver++ on the same timesteps, and the step of DDIM that stands for them."""
    from diffusers import DPMSolverMultistepScheduler

    it = objective()
    _, teacher = it.both(np.arange(1), conditions(1))
    process, noisy, t = it.segments.process, conditions(1).noise_Bchw, 999
    wanted = it.wanted(teacher, noisy, torch.tensor([t]))
    solver = DPMSolverMultistepScheduler(**process.scheduler_config, solver_order=2, lower_order_final=False)
    solver.set_timesteps(timesteps=[999, 912, 829, 749])
    latent = noisy
    for u in (999, 912, 829):
        latent = solver.step(teacher(latent, u), u, latent).prev_sample
    eps = (noisy - process.signal(t) * wanted) / process.noise(t)
    led = process.signal(749) * wanted + process.noise(749) * eps
    assert torch.allclose(led, latent, atol=1e-4)


@pytest.mark.parametrize("t", [999, 600, 249])
def test_more_steps_of_the_teacher_come_nearer_to_the_flow_by_their_square(t):
    """The flow of N(MEAN, STD^2) keeps a sample's place in the distribution."""
    noisy, t_B = conditions(1).noise_Bchw, torch.tensor([t])

    def end(it):
        process, lower = it.segments.process, int(it.segments.end(t_B))
        wanted = it.wanted(it.both(np.arange(1), conditions(1))[1], noisy, t_B)
        eps = (noisy - process.signal(t) * wanted) / process.noise(t)
        return process.signal(lower) * wanted + process.noise(lower) * eps

    process, lower = segments_of().process, int(segments_of().end(t_B))

    def spread(u):
        return np.hypot(process.signal(u) * STD, process.noise(u))

    flow = process.signal(lower) * MEAN + spread(lower) / spread(t) * (noisy - process.signal(t) * MEAN)
    errors = [float((end(objective(teacher_steps=steps)) - flow).abs().mean()) for steps in (1, 4, 8)]
    assert errors[1] < 0.25 * errors[0]
    assert errors[2] < 0.5 * errors[1]


def test_the_loss_by_hand():
    it = objective()
    draws = replace(conditions(4), timestep_B=torch.tensor([999, 740, 260, 249]))  # of 1000: a quarter each
    loss = it.loss(np.arange(4), draws).detach()
    t_B = torch.tensor([999, 749, 500, 250])
    signal, noise = it.segments.levels(t_B)
    noisy = signal * it.data.latents(np.arange(4), draws) + noise * draws.noise_Bchw
    student, teacher = it.both(np.arange(4), draws)
    wanted = it.wanted(teacher, noisy, t_B)
    for row, t in enumerate(t_B.tolist()):
        clean, _ = it.segments.process.clean_and_noise(student(noisy, t)[row].detach(), noisy[row], t)
        snr = (it.segments.process.signal(t) / it.segments.process.noise(t)) ** 2
        expected = min(max(snr, 1.0), LARGEST_WEIGHT) * float(((clean - wanted[row]) ** 2).mean())
        assert float(loss[row]) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_guidance_at_timesteps_of_their_own_is_guidance_at_each():
    it = objective(prompt=1.0)
    guided = GuidedDenoiser(
        model=it.teacher, guidance=Guidance(scale=3.0, interval=(0.2, 0.6)), prompt_BPW=torch.ones(4, 1, 1),
        null_prompt_PW=torch.zeros(1, 1), lesion_BTD=torch.zeros(4, 1, 1), beta=1.0,
    )  # fmt: skip
    noisy, t_B = torch.randn(4, 1, 4, 4), torch.tensor([100, 200, 600, 700])
    together = guided.at_own(noisy, t_B)
    for row, t in enumerate(t_B.tolist()):
        assert torch.allclose(together[row], guided(noisy, t)[row], atol=1e-6)


@pytest.mark.parametrize("guidance", [Guidance(), Guidance(scale=3.0)])
def test_a_student_learns_to_end_where_the_guided_path_does(tmp_path, guidance):
    """The toy's slopes and offsets can express it: in two evaluations its end comes a hundred times nearer."""
    it = objective(count=2, teacher_steps=16, guidance=guidance, prompt=1.0)
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
