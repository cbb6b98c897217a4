"""Training and measuring the VAE: loss falls, figures by hand, shards agree with the whole batch."""

import numpy as np
import pytest
import torch

from engine.config import VaeConfig
from engine.diffusion.codec import LatentCodec
from engine.diffusion.vae import build_vae
from engine.diffusion.vae_train import VaeObjective, evenly_spaced, measure_latents, reconstruction_figures
from engine.training.loop import train
from engine.training.plan import TrainEnv, TrainPlan, step_generator

CONFIG = VaeConfig(widths=[8, 16], downsample=2, latent_channels=4, batch_size=8, steps=30)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 1, 1, 3)).astype(np.uint8).repeat(16, 1).repeat(16, 2)


def source(positions):
    return IMAGES[positions]


def objective(vae, config=CONFIG, **env):
    return VaeObjective(vae=vae, images=source, config=config, env=TrainEnv(**env))


@pytest.mark.slow
@pytest.mark.parametrize("sample_posterior", [True, False])
def test_training_lowers_the_loss_and_learns_colour(tmp_path, sample_posterior):
    config = CONFIG.model_copy(update={"sample_posterior": sample_posterior})
    vae = build_vae(config, 16, seed=0)

    def figures():
        mean, scale = measure_latents(vae, source, np.arange(40), "cpu")
        return reconstruction_figures(LatentCodec(vae=vae, mean=mean, scale=scale), source, np.arange(40))

    before = figures()
    plan = TrainPlan(name="vae", seed=0, steps=50, batch_size=8, lr=3e-3)
    log = train(vae, objective(vae, config), np.ones(40), plan, TrainEnv(), tmp_path)
    after = figures()
    assert np.mean(log.losses[-5:]) < 0.8 * np.mean(log.losses[:5])
    assert after["psnr"] > before["psnr"] + 2
    assert after["colour_error"] < before["colour_error"]


@pytest.mark.parametrize("world", [2, 3])
def test_workers_average_to_the_whole_batch(world):
    vae = build_vae(CONFIG, 16, seed=0)
    rows = np.arange(8)

    def loss(**env):
        shard = TrainEnv(**env).shard(rows)
        return objective(vae, **env)(shard, 0, step_generator(0, "vae", 0)).item()

    shards = [loss(rank=rank, world=world) for rank in range(world)]
    assert np.mean(shards) == pytest.approx(loss(), rel=1e-4)
    assert len(set(shards)) == world


def test_measured_scale_gives_zero_mean_and_unit_variance():
    vae = build_vae(CONFIG, 16, seed=0).eval()
    mean, scale = measure_latents(vae, source, np.arange(40), "cpu")
    latent = LatentCodec(vae=vae, mean=mean, scale=scale).encode(IMAGES)
    assert latent.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert float(latent.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


def test_identity_scale_by_hand():
    pixels = np.stack([np.zeros((2, 2, 3)), np.full((2, 2, 3), 255)]).astype(np.uint8)
    mean, scale = measure_latents(None, lambda rows: pixels[rows], np.arange(2), "cpu")
    assert mean == (0.0, 0.0, 0.0)
    assert scale == 1.0  # -1 and 1


def test_figures_of_a_codec_that_darkens_by_hand():
    class Darker(LatentCodec):
        def decode(self, latent_Bchw):
            return super().decode(latent_Bchw) - np.uint8(51)

    grey = np.full((3, 16, 16, 3), 153, dtype=np.uint8)
    codec = Darker(vae=None, mean=(0.0, 0.0, 0.0), scale=1.0)
    figures = reconstruction_figures(codec, lambda rows: grey[rows], np.arange(3))
    assert figures["l1"] == pytest.approx(0.2)
    assert figures["psnr"] == pytest.approx(-10 * np.log10(0.04))
    assert figures["colour_error"] == pytest.approx(0.2 * np.sqrt(3))
    assert figures["ssim"] == pytest.approx((2 * 0.6 * 0.4 + 1e-4) / (0.36 + 0.16 + 1e-4), abs=1e-3)


def test_perfect_reconstruction_is_finite():
    codec = LatentCodec(vae=None, mean=(0.0, 0.0, 0.0), scale=1.0)
    figures = reconstruction_figures(codec, source, np.arange(40))
    assert figures["psnr"] == pytest.approx(100.0)
    assert figures["l1"] == 0.0
    assert figures["ssim"] == pytest.approx(1.0, abs=1e-3)


def test_evenly_spaced_keeps_ends_and_order():
    assert evenly_spaced(np.arange(5), most=9).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(np.arange(100), most=4).tolist() == [0, 33, 66, 99]


def test_global_generator_is_not_used():
    vae = build_vae(CONFIG, 16, seed=0)
    before = torch.get_rng_state()
    objective(vae)(np.arange(8), 0, step_generator(0, "vae", 0))
    assert torch.equal(torch.get_rng_state(), before)
