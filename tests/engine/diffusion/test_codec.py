"""uint8 images to scaled latents and back."""

import json

import numpy as np
import pytest
import torch

from engine.config import VaeConfig
from engine.diffusion.codec import (
    LatentCodec,
    coding,
    images_to_tensor,
    load_codec,
    padded_chunks,
    tensor_to_images,
)
from engine.diffusion.vae import build_vae
from engine.training.plan import TrainEnv

IMAGES = np.random.default_rng(0).integers(0, 256, (35, 16, 16, 3)).astype(np.uint8)


def test_every_byte_survives_the_way_to_tensor_and_back():
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    values = images_to_tensor(ramp)
    assert values.shape == (1, 3, 16, 16)
    assert (float(values.min()), float(values.max())) == (-1.0, 1.0)
    assert np.array_equal(tensor_to_images(values), ramp)


def test_out_of_range_is_clamped_and_rounded():
    values = torch.tensor([-3.0, 3.0, 0.001])[None, :, None, None]
    assert tensor_to_images(values).flatten().tolist() == [0, 255, 128]


def test_identity_codec_scales_pixels_by_hand():
    codec = LatentCodec(vae=None, mean=(0.5, 0.0, -0.5), scale=2.0)
    latent = codec.encode(np.full((1, 4, 4, 3), 255, dtype=np.uint8))
    assert latent[0, :, 0, 0].tolist() == [1.0, 2.0, 3.0]  # (1 - mean) * 2
    assert np.array_equal(codec.decode(codec.encode(IMAGES)), IMAGES)


def test_latents_do_not_depend_on_what_shares_the_batch():
    vae = build_vae(VaeConfig(widths=[8, 16], downsample=2), 16, seed=0).eval()
    codec = LatentCodec(vae=vae, mean=(0.0,) * 8, scale=1.0)
    together, alone = codec.encode(IMAGES), codec.encode(IMAGES[33:34])
    assert together.shape == (35, 8, 8, 8)
    assert torch.equal(together[33], alone[0])
    assert np.array_equal(codec.decode(together)[33], codec.decode(alone)[0])


@pytest.mark.parametrize(
    ("chunk", "count", "passes"), [(32, 1, [32]), (8, 8, [8]), (8, 9, [8, 8]), (1, 2, [1, 1])]
)
def test_the_vae_sees_chunks_of_the_size_asked_for(chunk, count, passes):
    vae = build_vae(VaeConfig(widths=[8, 16], downsample=2), 16, seed=0).eval()
    codec = LatentCodec(vae=vae, mean=(0.0,) * 8, scale=1.0, chunk=chunk)
    seen = {"encoder": [], "decoder": []}
    for name, sizes in seen.items():
        getattr(vae, name).register_forward_pre_hook(
            lambda _, given, sizes=sizes: sizes.append(len(given[0]))
        )
    images = codec.decode(codec.encode(IMAGES[:count]))
    assert images.shape == (count, 16, 16, 3)
    assert seen == {"encoder": passes, "decoder": passes}
    assert np.array_equal(codec.decode(codec.encode(IMAGES[count - 1 : count]))[0], images[-1])


def test_chunks_are_filled_up_with_their_first_image():
    chunks = padded_chunks(IMAGES)
    assert [len(c) for c in chunks] == [32, 32]
    assert np.array_equal(chunks[1][:3], IMAGES[32:])
    assert all(np.array_equal(row, IMAGES[32]) for row in chunks[1][3:])


@pytest.mark.parametrize("kind", ["kl", "identity"])
def test_load_codec(tmp_path, kind):
    channels = 3
    if kind == "kl":
        channels = 4
        vae = build_vae(VaeConfig(widths=[8, 16], downsample=2, latent_channels=4), 16, seed=0)
        vae.save_pretrained(tmp_path / "vae")
    info = {"kind": kind, "latents_mean": [0.25] * channels, "scaling_factor": 3.0}
    (tmp_path / "vae.json").write_text(json.dumps(info))
    codec = load_codec(tmp_path)
    assert (codec.scale, codec.mean) == (3.0, (0.25,) * channels)
    if codec.vae is not None:
        pixels = images_to_tensor(padded_chunks(IMAGES[:2])[0])
        with torch.no_grad():
            expected = (vae.eval().encode(pixels).latent_dist.mean[:2] - 0.25) * 3.0
        torch.testing.assert_close(codec.encode(IMAGES[:2]), expected, rtol=1e-4, atol=1e-5)
        weight = codec.vae.encoder.conv_in.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_bf16_codes_as_float32_does_but_for_rounding():
    vae = build_vae(VaeConfig(widths=[8, 16], downsample=2, latent_channels=4), 16, seed=0).eval()
    codec = LatentCodec(vae=vae, mean=(0.0,) * 4, scale=1.0)
    with coding(TrainEnv(precision="bf16")):
        latent, images = codec.encode(IMAGES), codec.decode(codec.encode(IMAGES))
    plain = codec.encode(IMAGES)
    assert latent.dtype == torch.float32 and not torch.equal(latent, plain)
    assert float((latent - plain).std() / plain.std()) < 0.02
    assert np.abs(images.astype(int) - codec.decode(plain)).max() <= 4
    for precision in ("float32", "fp16"):
        with coding(TrainEnv(precision=precision)):
            assert torch.equal(codec.encode(IMAGES), plain), "a large VAE overflows in fp16"
