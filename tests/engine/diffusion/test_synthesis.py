"""Synthesis: bytes depend on a sample's own row alone; counts, digests and PNGs."""

import numpy as np
import pytest
import torch

from engine.config import DenoiserConfig, SynthesisConfig
from engine.diffusion.codec import LatentCodec
from engine.diffusion.denoiser import build_denoiser
from engine.diffusion.prompt import load_prompt_encoder
from engine.diffusion.samplers.table import SAMPLERS
from engine.diffusion.schedule import scheduler_config
from engine.diffusion.synthesis import Synthesizer, save_png, weights_digest
from tests.fakes_diffusion import WIDTH, make_clip

RNG = np.random.default_rng(0)
LEVELS = RNG.normal(size=(5, 2, 6)).astype(np.float32)
PARENTS = RNG.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
PROMPTS = [
    "dermoscopy of mel",
    "dermoscopy of nv",
    "dermoscopy of bkl",
    "dermoscopy of mel",
    "dermoscopy of df",
]
SEEDS = np.array([11, 12, 13, 14, 15])
NOISE = scheduler_config("scaled_linear", "epsilon")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    make_clip(folder, PROMPTS)
    model = build_denoiser(DenoiserConfig(widths=[8, 16], head_dim=8), 3, 8, WIDTH, 6, seed=0).eval()
    for adapter in model.adapters.values():
        torch.nn.init.constant_(adapter.gamma, 2.0)
    return model, load_prompt_encoder(folder, None)


def synthesizer(parts, beta=1.0, **settings):
    model, prompts = parts
    return Synthesizer(
        model=model,
        codec=LatentCodec(vae=None, mean=(0.0,) * 3, scale=2.0),
        prompts=prompts,
        config=SynthesisConfig(**{"steps": 3, "batch_size": 4, **settings}),
        scheduler_config=NOISE,
        fuse="mean",
        beta=beta,
        shape=(3, 8, 8),
    )


def make(engine, rows):
    return complete(engine, rows).images_BHWC


def complete(engine, rows, **more):
    return engine.synthesize(LEVELS[rows], [PROMPTS[i] for i in rows], SEEDS[rows], PARENTS[rows], **more)


def one(engine, lesion=0, prompt=0, seed=0):
    """One image of its own lesion, prompt and seed, from noise."""
    made = engine.synthesize(LEVELS[lesion : lesion + 1], [PROMPTS[prompt]], SEEDS[seed : seed + 1])
    return made.images_BHWC


@pytest.mark.slow
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_sample_is_the_same_wherever_it_is_made(parts, sampler, strength):
    engine = synthesizer(parts, sampler=sampler, strength=strength)
    whole = make(engine, [0, 1, 2, 3])
    assert whole.shape == (4, 8, 8, 3)
    assert whole.dtype == np.uint8
    assert np.array_equal(make(engine, [0, 1, 2, 3]), whole)
    assert np.array_equal(make(engine, [4, 2])[1], whole[2])
    assert np.array_equal(make(engine, [3])[0], whole[3])


def test_seed_embedding_prompt_and_beta_each_matter(parts):
    engine = synthesizer(parts)
    base = one(engine)
    assert np.array_equal(one(engine), base)
    for other in (one(engine, seed=1), one(engine, lesion=1), one(engine, prompt=1)):
        assert not np.array_equal(other, base)
    assert not np.array_equal(one(synthesizer(parts, beta=0.0)), base)


def test_at_beta_zero_the_lesion_does_not_matter(parts):
    engine = synthesizer(parts, beta=0.0)
    assert np.array_equal(one(engine, lesion=0), one(engine, lesion=1))


def test_low_strength_keeps_the_parent(parts):
    near = make(synthesizer(parts, strength=0.05, steps=8, guidance_scale=1.0), [0]).astype(float)
    far = make(synthesizer(parts, strength=1.0, steps=8, guidance_scale=1.0), [0]).astype(float)
    parent = PARENTS[0].astype(float)
    assert np.abs(near - parent).mean() < 0.6 * np.abs(far - parent).mean()


@pytest.mark.parametrize(
    ("settings", "nfe"),
    [
        ({"steps": 8, "guidance_scale": 1.0}, 8),
        ({"steps": 8, "guidance_scale": 2.0}, 16),
        ({"steps": 8, "guidance_scale": 2.0, "lesion_guidance_scale": 3.0}, 24),
        ({"steps": 8, "sampler": "ddim", "strength": 0.5, "guidance_scale": 2.0}, 8),
        # trailing timesteps 999, 874, ... 124: guided in the lower half (499, 374, 249, 124)
        ({"steps": 8, "sampler": "ddim", "guidance_scale": 2.0, "guidance_interval": (0.0, 0.5)}, 12),
        ({"steps": 8, "sampler": "euler_maruyama", "guidance_scale": 1.0}, 8),
        ({"steps": 8, "sampler": "predictor_corrector", "guidance_scale": 1.0}, 15),
        ({"steps": 8, "sampler": "probability_flow", "guidance_scale": 1.0}, 15),
        ({"steps": 8, "sampler": "annealed_langevin", "langevin_inner": 2, "guidance_scale": 1.0}, 17),
    ],
)
def test_nfe_counts_every_run_of_the_denoiser(parts, settings, nfe):
    engine = synthesizer(parts, **settings)
    counted = []
    hook = parts[0].register_forward_pre_hook(lambda module, args: counted.append(len(args[0])))
    made = complete(engine, [0, 1, 2, 3])
    hook.remove()
    assert made.evaluations == nfe
    assert sum(counted) == nfe * 4


@pytest.mark.slow
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_states_go_from_noise_to_the_image_and_change_nothing(parts, sampler):
    engine = synthesizer(parts, sampler=sampler, steps=6, guidance_scale=1.0)
    watched = complete(engine, [0, 1, 2], states=3)
    assert np.array_equal(watched.images_BHWC, make(engine, [0, 1, 2]))
    times = [state.timestep for state in watched.states]
    assert len(times) == 3
    assert times == sorted(times, reverse=True)
    assert times[0] > 900
    last = watched.states[-1]
    assert last.noisy_BHWC.shape == last.clean_BHWC.shape == watched.images_BHWC.shape
    assert np.abs(last.clean_BHWC.astype(float) - watched.images_BHWC).mean() < 8


def test_the_adaptive_solver_spends_more_for_a_smaller_tolerance(parts):
    spent = [
        complete(
            synthesizer(parts, sampler="probability_flow", solver="adaptive", tolerance=t), [0]
        ).evaluations
        for t in (1e-1, 1e-3)
    ]
    assert spent[0] < spent[1]


def test_digest_follows_the_weights(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"one")
    (tmp_path / "b.safetensors").write_bytes(b"two")
    first = weights_digest(tmp_path)
    (tmp_path / "note.json").write_text("{}")
    assert weights_digest(tmp_path) == first
    assert len(first) == 64
    (tmp_path / "b.safetensors").write_bytes(b"three")
    assert weights_digest(tmp_path) != first


def test_png_bytes_depend_on_pixels_alone(tmp_path):
    from PIL import Image

    for name in ("a.png", "b.png"):
        save_png(PARENTS[0], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image = Image.open(tmp_path / "a.png")
    assert np.array_equal(np.asarray(image), PARENTS[0])
    assert not image.info
