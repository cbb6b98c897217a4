"""Building the autoencoder: shapes, seeds, and a pre-trained one re-fitted to other latent channels."""

import pytest
import torch
from diffusers import AutoencoderKL

from engine.config import VaeConfig
from engine.diffusion.pretrained import remade
from engine.diffusion.vae import build_vae
from engine.errors import ConfigError

TINY = {"widths": [8, 16], "downsample": 2}

REMADE = {"encoder.conv_out", "quant_conv", "post_quant_conv", "decoder.conv_in"}
"""The convolutions whose shape depends on the number of latent channels."""


def source_vae(folder, channels=4):
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=channels,
        norm_num_groups=2,
    )
    vae.save_pretrained(folder)
    return vae


@pytest.mark.parametrize("channels", [4, 8])
def test_latent_channels_and_side(channels):
    vae = build_vae(VaeConfig(widths=[8, 16, 16], latent_channels=channels), 16, seed=0)
    latent = vae.encode(torch.zeros(2, 3, 16, 16)).latent_dist.mean
    assert latent.shape == (2, channels, 4, 4)
    assert vae.decode(latent).sample.shape == (2, 3, 16, 16)


def test_weights_follow_the_seed_and_leave_the_global_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (build_vae(VaeConfig(**TINY), 16, seed=s).state_dict() for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["encoder.conv_in.weight"], other["encoder.conv_in.weight"])


@pytest.mark.parametrize("sub", ["", "vae"])
def test_pretrained_with_other_channels_keeps_every_other_weight(tmp_path, sub):
    source = source_vae(tmp_path / sub).state_dict()
    config = VaeConfig(**TINY, pretrained=str(tmp_path), latent_channels=8)
    vae = build_vae(config, 16, seed=0)
    made = vae.state_dict()
    changed = {k for k in made if k not in source or made[k].shape != source[k].shape}
    assert set(remade(vae)) == changed
    assert {name.rsplit(".", 1)[0] for name in changed} == {
        "encoder.conv_out",
        "quant_conv",
        "post_quant_conv",
        "decoder.conv_in",
    }
    assert all(torch.equal(made[k], source[k]) for k in made if k not in changed)
    assert made["decoder.conv_in.weight"].shape[1] == 8


def test_pretrained_with_equal_channels_keeps_all(tmp_path):
    source = source_vae(tmp_path).state_dict()
    made = build_vae(VaeConfig(**TINY, pretrained=str(tmp_path), latent_channels=4), 16, seed=0).state_dict()
    assert all(torch.equal(made[k], source[k]) for k in source)


def test_remade_layers_follow_the_seed(tmp_path):
    source_vae(tmp_path)
    config = VaeConfig(**TINY, pretrained=str(tmp_path), latent_channels=8)
    first, again = (build_vae(config, 16, seed=5).state_dict()["quant_conv.weight"] for _ in range(2))
    assert torch.equal(first, again)


def test_pretrained_with_other_downsampling_is_refused(tmp_path):
    source_vae(tmp_path)
    with pytest.raises(
        ConfigError, match=r"vae\.downsample is 4, .* downsamples by 2; set vae\.downsample=2"
    ):
        build_vae(VaeConfig(pretrained=str(tmp_path)), 16, seed=0)


def test_nothing_to_load_names_the_field(tmp_path):
    with pytest.raises(
        ConfigError, match=r"vae\.pretrained: no vae could be loaded from .*Hugging Face layout"
    ):
        build_vae(VaeConfig(**TINY, pretrained=str(tmp_path)), 16, seed=0)
