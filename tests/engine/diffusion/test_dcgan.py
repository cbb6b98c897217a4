"""The conditional GAN: shapes, seeds, whose gradient reaches whom, class and seed in the samples, saving."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

from engine.classifier.batchnorm import globalize_batch_norm
from engine.config import GanConfig
from engine.diffusion.dcgan import GanObjective, GanSampler, build_gan, save_gan
from engine.errors import ConfigError
from engine.training.loop import train
from engine.training.plan import TrainEnv, TrainPlan, step_generator
from tests.processes import CONTEXT

CONFIG = GanConfig(width=8, latent=6, batch_size=8, steps=5)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
LABELS = np.arange(12) % 3


def objective(gan, config=CONFIG, **env):
    return GanObjective(
        gan=gan, images=lambda rows: IMAGES[rows], labels_N=LABELS, config=config, env=TrainEnv(**env)
    )


@pytest.mark.parametrize("side", [8, 16, 64])
def test_shapes(side):
    gan = build_gan(CONFIG, 3, side, seed=0)
    images = gan.generator(torch.randn(2, 6), torch.tensor([0, 2]))
    assert images.shape == (2, 3, side, side)
    assert images.abs().max() <= 1
    assert gan.discriminator(images, torch.tensor([0, 2])).shape == (2,)


@pytest.mark.parametrize("side", [4, 12, 48])
def test_sides_it_cannot_make_are_refused(side):
    with pytest.raises(ConfigError, match=rf"dcgan makes images of 8, 16, 32, 64 \.\.\. px, not {side}"):
        build_gan(CONFIG, 3, side, seed=0)


def test_weights_follow_the_seed():
    first, again, other = (build_gan(CONFIG, 3, 16, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_each_part_learns_from_its_own_loss_alone():
    """The sum of both losses gives the generator the gradient of its loss, the discriminator that of its own."""
    rows = np.arange(8)

    def gradients(pick):
        gan = build_gan(CONFIG, 3, 16, seed=0)
        loss = objective(gan)(rows, 0, torch.Generator().manual_seed(1))
        loss.backward()
        return [p.grad.clone() for p in pick(gan).parameters()]

    def alone():
        gan = build_gan(CONFIG, 3, 16, seed=0)
        generator = torch.Generator().manual_seed(1)
        torch.rand(8, 2, generator=generator)
        latent = torch.randn(8, 6, generator=generator)
        label = torch.from_numpy(LABELS[rows])
        gan.discriminator(torch.cat([gan.generator(latent, label).detach()] * 2), torch.cat([label] * 2))
        (-gan.discriminator(gan.generator(latent, label), label).mean()).backward()
        return [p.grad.clone() for p in gan.generator.parameters()]

    together = gradients(lambda gan: gan.generator)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(together, alone(), strict=True))
    assert all(bool((g != 0).any()) for g in gradients(lambda gan: gan.discriminator))


@pytest.mark.parametrize("world", [2, 3])
def test_workers_average_to_the_whole_batch(world):
    gan = build_gan(CONFIG, 3, 16, seed=0).eval()  # batch norm looks at what a worker sees
    rows = np.arange(8)

    def loss(**env):
        drawn = step_generator(0, "gan", 0)
        return objective(gan, **env)(TrainEnv(**env).shard(rows), 0, drawn).item()

    assert np.mean([loss(rank=rank, world=world) for rank in range(world)]) == pytest.approx(loss(), rel=1e-5)


def worker(rank, world, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    gan = globalize_batch_norm(build_gan(CONFIG, 3, 16, seed=0))
    log = train(gan, objective(gan, rank=rank, world=world), np.ones(12), plan_of_three(), TrainEnv(rank=rank, world=world),
                Path(folder) / str(rank))  # fmt: skip
    if rank == 0:
        np.save(Path(folder) / "losses.npy", np.array(log.losses))
    dist.barrier()
    dist.destroy_process_group()


def plan_of_three():
    return TrainPlan.of(CONFIG, name="gan", seed=0, steps=3)


@pytest.mark.slow
def test_three_workers_agree_with_one(tmp_path):
    """Batch norm looks at the whole batch, whoever holds which part of it."""
    start_processes(worker, (3, str(tmp_path)), nprocs=3, start_method=CONTEXT.get_start_method())
    gan = build_gan(CONFIG, 3, 16, seed=0)
    log = train(gan, objective(gan), np.ones(12), plan_of_three(), TrainEnv(), tmp_path / "one")
    assert np.load(tmp_path / "losses.npy") == pytest.approx(log.losses, rel=1e-4)


def test_training_moves_both_and_resumes_in_the_same_bits(tmp_path):
    plan = TrainPlan.of(CONFIG, name="gan", seed=0, ema=0.9, betas=(0.0, 0.99), checkpoint_every=2)
    states = []
    for stop in (None, 3):
        gan = build_gan(CONFIG, 3, 16, seed=0)
        folder = tmp_path / str(stop)
        if stop is not None:

            def dies(rows, step, generator, gan=gan, stop=stop):
                if step == stop:
                    raise KeyboardInterrupt
                return objective(gan)(rows, step, generator)

            with pytest.raises(KeyboardInterrupt):
                train(gan, dies, np.ones(12), plan, TrainEnv(), folder)
            gan = build_gan(CONFIG, 3, 16, seed=0)
        train(gan, objective(gan), np.ones(12), plan, TrainEnv(), folder)
        states.append(gan.state_dict())
    fresh = build_gan(CONFIG, 3, 16, seed=0).state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in fresh)
    for part in ("generator", "discriminator"):
        assert any(not torch.equal(states[0][k], fresh[k]) for k in fresh if k.startswith(part))


def test_a_saved_generator_samples_by_class_and_seed(tmp_path):
    gan = build_gan(CONFIG, 3, 16, seed=0).eval()
    save_gan(gan, ("bkl", "mel", "nv"), 16, CONFIG, tmp_path)
    sampler = GanSampler.load(tmp_path, "cpu")
    images = sampler.sample(["mel", "nv", "mel", "mel"], [5, 5, 6, 5])
    assert torch.equal(images[0], images[3])
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
    latent = torch.randn(6, generator=torch.Generator().manual_seed(5))[None]
    assert torch.allclose(gan.generator(latent, torch.tensor([1]))[0], images[0], atol=1e-6)
