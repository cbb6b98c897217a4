"""The sampler of a student: one evaluation per segment, the exact flow of a student that is exact."""

import itertools
import math

import pytest
import torch

from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers.few_step import FewStep, lead, segment_ends
from engine.diffusion.samplers.sampling import SamplerSettings, sample_noise
from engine.diffusion.schedule import SCHEDULES, scheduler_config
from tests.engine.diffusion.samplers.test_table import MEAN, STD, exact, generators


def process_of(schedule="scaled_linear"):
    return NoiseProcess(scheduler_config(schedule, "v"))


def perfect_student(process, steps, calls=None):
    """Answers with the v whose DDIM step to the segment's end is the exact flow of N(MEAN, STD^2).

    The flow keeps a sample's place in the distribution: (x - signal MEAN) / spread is constant along it.
    """
    ends = segment_ends(process, steps)

    def spread(u):
        return math.hypot(process.signal(u) * STD, process.noise(u))

    def predict(noisy, u):
        if calls is not None:
            calls.append(u)
        lower = max(end for end in ends if end < u)
        place = (noisy - process.signal(u) * MEAN) / spread(u)
        end = process.signal(lower) * MEAN + spread(lower) * place
        ratio = process.noise(lower) / process.noise(u)
        clean = (end - ratio * noisy) / (process.signal(lower) - ratio * process.signal(u))
        return process.prediction_of(clean, noisy, u)

    return predict


def run(predict, steps, schedule="scaled_linear", parent=None, watch=None, **settings):
    draws = generators(100)
    noise = sample_noise((1, 4, 4), draws, "cpu").double()
    sampler = FewStep(
        SamplerSettings(scheduler_config=scheduler_config(schedule, "v"), steps=steps, **settings)
    )
    return sampler.run(predict, noise, draws, parent, watch)


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_segments_cover_what_sampling_visits_in_equal_parts(schedule, steps):
    process = process_of(schedule)
    ends = segment_ends(process, steps)
    assert (ends[0], ends[-1], len(ends)) == (int(process.noisiest), -1, steps + 1)
    lengths = [upper - lower for upper, lower in itertools.pairwise(ends)]
    assert max(lengths) - min(lengths) <= 2


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_a_perfect_student_ends_where_the_flow_does_whatever_the_steps(schedule, steps):
    calls = []
    few = run(perfect_student(process_of(schedule), steps, calls), steps, schedule)
    assert len(calls) == steps
    limit = run(exact(schedule, "v"), 800, schedule)
    assert float((few - limit).abs().max()) < 0.02


def test_it_is_of_first_order_on_a_denoiser():
    limit = run(perfect_student(process_of(), 1), 1)
    errors = [
        float((run(exact("scaled_linear", "v"), steps) - limit).abs().mean()) for steps in (50, 100, 200)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize(
    ("strength", "visited"),
    [(1.0, [999, 749, 500, 250]), (0.6, [599, 500, 250]), (0.25, [250]), (0.1, [100])],
)
def test_an_edit_starts_inside_a_segment_and_goes_on_from_its_end(strength, visited):
    process, calls = process_of(), []
    parent = torch.full((100, 1, 4, 4), MEAN, dtype=torch.float64)
    seen = []
    run(
        perfect_student(process, 4, calls),
        4,
        parent=parent,
        strength=strength,
        watch=lambda u, latent, clean: seen.append((u, latent.shape, clean.shape)),
    )
    assert calls == visited
    assert [u for u, _, _ in seen] == visited
    assert {shape for _, *shapes in seen for shape in shapes} == {parent.shape}


def test_fresh_noise_keeps_the_distribution_and_forgets_the_first_noise():
    """A student that leads to the clean end in one step: what is drawn anew decides the sample from there on."""

    def exact_end(noisy, u):
        process = process_of()
        place = (noisy - process.signal(u) * MEAN) / math.hypot(process.signal(u) * STD, process.noise(u))
        return process.prediction_of(MEAN + STD * place, noisy, u)

    def sample(seed, fresh=1.0):
        draws = generators(200, seed)
        config = scheduler_config("scaled_linear", "v")
        sampler = FewStep(SamplerSettings(scheduler_config=config, steps=4), fresh)
        noise = sample_noise((1, 4, 4), generators(200), "cpu").double()
        return sampler.run(exact_end, noise, draws)

    one, other = sample(1), sample(1000)
    assert torch.equal(one, sample(1))
    assert float(one.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(one.std()) == pytest.approx(STD, rel=0.03)
    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.8


@pytest.mark.parametrize("fresh", [0.3, 0.7])
def test_part_of_the_noise_may_be_fresh(fresh):
    process = process_of()
    ends = segment_ends(process, 4)

    def student(noisy, u):
        lower = lead(max(end for end in ends if end < u), fresh)
        place = (noisy - process.signal(u) * MEAN) / math.hypot(process.signal(u) * STD, process.noise(u))
        end = process.signal(lower) * MEAN + place * math.hypot(
            process.signal(lower) * STD, process.noise(lower)
        )
        ratio = process.noise(lower) / process.noise(u)
        clean = (end - ratio * noisy) / (process.signal(lower) - ratio * process.signal(u))
        return process.prediction_of(clean, noisy, u)

    draws = generators(200)
    noise = sample_noise((1, 4, 4), draws, "cpu").double()
    settings = SamplerSettings(scheduler_config=scheduler_config("scaled_linear", "v"), steps=4)
    values = FewStep(settings, fresh).run(student, noise, draws)
    assert float(values.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(values.std()) == pytest.approx(STD, rel=0.03)


def test_an_edit_at_little_strength_stays_at_its_parent():
    parent = torch.linspace(0, 3, 1600, dtype=torch.float64).reshape(100, 1, 4, 4)
    edited = run(perfect_student(process_of(), 4), 4, parent=parent, strength=0.02)
    noise = process_of().noise(20)
    assert float((edited - parent).std()) < 1.2 * noise
