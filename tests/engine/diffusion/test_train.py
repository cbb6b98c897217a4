"""The denoiser's objective: draws, dropping, mixing, weights, shards, and that it learns what it is told."""

import numpy as np
import pytest
import torch
from torch import nn

from engine.config import DenoiserConfig
from engine.diffusion.denoiser import build_denoiser
from engine.diffusion.schedule import alphas_bar, scheduler_config
from engine.diffusion.train import DenoiserData, DenoiserObjective, draw, validation_loss
from engine.training.loop import train
from engine.training.plan import TrainEnv, TrainPlan, step_generator

SHAPE = (2, 4, 4)
N, LEVELS, D, W = 12, 2, 6, 10


def config(**more):
    return DenoiserConfig(**{"widths": [8, 16], "head_dim": 8, "batch_size": 8, "steps": 4, **more})


def data(seed=0):
    rng = np.random.default_rng(seed)
    return DenoiserData(
        latents_N2chw=rng.normal(size=(N, 2, *SHAPE)).astype(np.float32),
        levels_NLD=rng.normal(size=(N, LEVELS, D)).astype(np.float32),
        neighbours_NK=np.stack([(np.arange(N) + 1) % N, (np.arange(N) + 2) % N], axis=1),
        prompts_UPW=torch.from_numpy(rng.normal(size=(3, 5, W)).astype(np.float32)),
        prompt_of_N=np.arange(N) % 3,
        null_prompt_PW=torch.full((5, W), 9.0),
    )


class Spy(nn.Module):
    """Stands for the denoiser: keeps what it was given and predicts zero."""

    def forward(self, noisy, timestep, prompt, lesion, beta):
        self.seen = {"noisy": noisy, "timestep": timestep, "prompt": prompt, "lesion": lesion, "beta": beta}
        return torch.zeros_like(noisy)

    def drop_lesion(self, lesion, drop):
        return torch.where(drop[:, None, None], torch.full_like(lesion, 7.0), lesion)


def objective(model, cfg, schedule="scaled_linear", fuse="concat", **env):
    abar = alphas_bar(scheduler_config(schedule, cfg.prediction))
    return DenoiserObjective(
        model=model, data=data(), config=cfg, fuse=fuse, abar_T=abar, env=TrainEnv(**env)
    )


def generator(step=0):
    return step_generator(0, "denoiser", step)


def many_draws(**more):
    return draw(config(batch_size=4000, **more), SHAPE, 5, generator(), TrainEnv())


def test_timesteps_are_stratified_over_the_whole_range():
    steps = many_draws().timestep_B
    counts = torch.bincount(steps, minlength=1000)
    assert counts.tolist() == [4] * 1000
    assert not torch.equal(steps, steps.sort().values)


def test_shares_of_dropped_conditions():
    draws = many_draws(drop_prompt=0.2, drop_lesion=0.3, drop_all=0.1)
    prompt, lesion = draws.drop_prompt_B, draws.drop_lesion_B
    assert float((prompt & lesion).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float((prompt & ~lesion).float().mean()) == pytest.approx(0.2, abs=0.025)
    assert float((lesion & ~prompt).float().mean()) == pytest.approx(0.3, abs=0.025)


@pytest.mark.parametrize(("tokens", "low", "high"), [("own", 0.0, 0.0), ("neighbour", 1.0, 1.0)])
def test_share_of_the_neighbour(tokens, low, high):
    share = many_draws(guidance_tokens=tokens).share_B
    assert (float(share.min()), float(share.max())) == (low, high)


def test_mixed_share_is_half_the_time_the_own_embedding():
    draws = many_draws(guidance_tokens="mixed")
    assert float((draws.share_B == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(draws.share_B.max()) > 0.95
    assert sorted(draws.neighbour_B.unique().tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("flips", "share"), [(True, 0.5), (False, 0.0)])
def test_mirrors(flips, share):
    assert float(many_draws(flips=flips).mirror_B.float().mean()) == pytest.approx(share, abs=0.03)


def test_shards_are_slices_of_one_global_draw():
    whole = draw(config(), SHAPE, 2, generator(), TrainEnv())
    parts = [draw(config(), SHAPE, 2, generator(), TrainEnv(rank=r, world=3)) for r in range(3)]
    for name in vars(whole):
        assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(whole, name))


@pytest.mark.parametrize("world", [2, 3])
def test_workers_average_to_the_whole_batch(world):
    rows = np.arange(8)

    def loss(**env):
        return objective(Spy(), config(), **env)(TrainEnv(**env).shard(rows), 0, generator()).item()

    shards = [loss(rank=rank, world=world) for rank in range(world)]
    assert np.mean(shards) == pytest.approx(loss(), rel=1e-5)
    assert len(set(shards)) == world


def test_forward_process_and_conditions_reach_the_model():
    spy = Spy()
    drops = {"drop_prompt": 0.0, "drop_lesion": 0.0, "drop_all": 0.0}
    cfg = config(**drops, guidance_tokens="neighbour", beta=0.5, prediction="epsilon")
    obj = objective(spy, cfg)
    rows = np.arange(8)
    draws = draw(cfg, SHAPE, 2, generator(), TrainEnv())
    losses = obj.loss(rows, draws)
    abar = obj.abar_T[draws.timestep_B][:, None, None, None]
    clean = torch.from_numpy(obj.data.latents_N2chw[rows, draws.mirror_B.long()])
    assert torch.allclose(spy.seen["noisy"], abar.sqrt() * clean + (1 - abar).sqrt() * draws.noise_Bchw)
    neighbour = obj.data.neighbours_NK[rows, draws.neighbour_B]
    assert torch.allclose(spy.seen["lesion"], torch.from_numpy(obj.data.levels_NLD[neighbour]), atol=1e-5)
    assert torch.equal(spy.seen["prompt"], obj.data.prompts_UPW[torch.arange(8) % 3])
    assert spy.seen["beta"] == 0.5
    assert torch.allclose(
        losses, draws.noise_Bchw.square().mean(dim=(1, 2, 3))
    )  # L_simple of a zero prediction


def test_dropped_conditions_become_null():
    spy = Spy()
    cfg = config(drop_all=1.0, drop_prompt=0.0, drop_lesion=0.0)
    objective(spy, cfg)(np.arange(8), 0, generator())
    assert spy.seen["lesion"].unique().tolist() == [7.0]
    assert spy.seen["prompt"].unique().tolist() == [9.0]


def test_mean_fusing_gives_one_token():
    spy = Spy()
    objective(spy, config(), fuse="mean")(np.arange(8), 0, generator())
    assert spy.seen["lesion"].shape == (8, 1, D)


def test_l1_and_min_snr():
    cfg = config(loss="l1", min_snr_gamma=5.0, prediction="epsilon")
    obj = objective(Spy(), cfg)
    draws = draw(cfg, SHAPE, 2, generator(), TrainEnv())
    abar = obj.abar_T[draws.timestep_B]
    weight = (5.0 / (abar / (1 - abar))).clamp(max=1.0)
    expected = draws.noise_Bchw.abs().mean(dim=(1, 2, 3)) * weight
    assert torch.allclose(obj.loss(np.arange(8), draws), expected, rtol=1e-4)


def denoiser(cfg):
    return build_denoiser(cfg, SHAPE[0], SHAPE[1], W, D, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
def test_learns_four_latents(tmp_path, prediction):
    cfg = config(prediction=prediction, guidance_tokens="own")
    model = denoiser(cfg)
    plan = TrainPlan(name="denoiser", seed=0, steps=30, batch_size=8, lr=5e-3, ema=0.8)
    weights = np.array([1.0] * 4 + [0.0] * (N - 4))
    obj = objective(model, cfg, fuse="mean")
    before = validation_loss(obj, np.arange(4), seed=0)
    log = train(model, obj, weights, plan, TrainEnv(), tmp_path)
    assert np.mean(log.losses[-10:]) < 0.95 * np.mean(log.losses[:10])
    assert validation_loss(obj, np.arange(4), seed=0) < before


def test_resumed_training_ends_in_the_same_bits(tmp_path):
    cfg = config()

    def run(steps, folder):
        model = denoiser(cfg)
        plan = TrainPlan(
            name="denoiser", seed=0, steps=steps, batch_size=8, lr=1e-3, ema=0.9, checkpoint_every=2
        )
        train(model, objective(model, cfg), np.ones(N), plan, TrainEnv(), folder)
        return model.state_dict()

    whole = run(5, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(what, done, total):
        if done == 3:
            raise Killed

    model = denoiser(cfg)
    plan = TrainPlan(name="denoiser", seed=0, steps=5, batch_size=8, lr=1e-3, ema=0.9, checkpoint_every=2)
    with pytest.raises(Killed):
        train(model, objective(model, cfg), np.ones(N), plan, TrainEnv(progress=kill), tmp_path / "cut")
    resumed = run(5, tmp_path / "cut")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_validation_loss_is_fixed_and_sees_the_null_embedding():
    cfg = config()
    model = denoiser(cfg).eval()
    for adapter in model.adapters.values():
        nn.init.constant_(adapter.gamma, 1.0)
    obj = objective(model, cfg)
    positions = np.array([3, 5, 7])
    first = validation_loss(obj, positions, seed=1)
    assert first == validation_loss(obj, positions, seed=1)
    assert first != validation_loss(obj, positions, seed=2)
    assert first != validation_loss(obj, positions, seed=1, without_lesion=True)
    assert validation_loss(obj, np.array([], dtype=np.int64), seed=1) is None


def test_gates_learn_ten_times_as_fast(tmp_path):
    cfg = config(drop_prompt=0.0, drop_lesion=0.0, drop_all=0.0)
    model = denoiser(cfg)
    before = model.unet.conv_in.weight.detach().clone()
    plan = TrainPlan(
        name="denoiser", seed=0, steps=1, batch_size=8, lr=1e-3, lr_schedule="constant", grad_clip=None
    )
    train(model, objective(model, cfg), np.ones(N), plan, TrainEnv(), tmp_path)
    # Adam's first step is lr in the direction of the gradient
    for adapter in model.adapters.values():
        assert adapter.gamma.abs().item() == pytest.approx(1e-2, rel=1e-2)
    assert (model.unet.conv_in.weight - before).abs().max().item() == pytest.approx(1e-3, rel=1e-2)
