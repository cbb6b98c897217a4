"""The denoiser as a whole: shape of the U-Net, seeds, saving, a pre-trained U-Net re-fitted to the latents."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from engine.config import DenoiserConfig
from engine.diffusion.denoiser import (
    attention_levels,
    build_denoiser,
    load_denoiser,
    norm_groups,
    save_denoiser,
)
from engine.errors import ConfigError

TINY = {"widths": [8, 16], "head_dim": 8}


def build(seed=0, channels=4, **more):
    return build_denoiser(DenoiserConfig(**{**TINY, **more}), channels, 8, 10, 6, seed)


def inputs(channels=4):
    generator = torch.Generator().manual_seed(1)
    noisy, prompt, lesion = (
        torch.randn(2, *s, generator=generator) for s in ((channels, 8, 8), (5, 10), (1, 6))
    )
    return noisy, torch.tensor([3, 900]), prompt, lesion


@pytest.mark.parametrize(
    ("widths", "side", "largest", "expected"),
    [
        ([8, 8, 8], 32, 8, [False, False, True]),
        ([8, 8, 8], 16, 8, [False, True, True]),
        ([8, 8, 8], 16, 16, [True, True, True]),
        ([8, 8], 64, 8, [False, True]),
        ([8], 64, 8, [True]),
    ],
)
def test_attention_levels(widths, side, largest, expected):
    assert attention_levels(widths, side, largest) == expected


def test_attention_side_sets_the_transformer_blocks():
    wide, narrow = build(attention_side=8), build(attention_side=4)
    assert len(wide.adapters) == 7
    assert len(narrow.adapters) == 4
    assert wide.unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.heads == 2  # 16 / head_dim 8


def test_weights_follow_the_seed():
    first, again, other = (build(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_one_state_covers_unet_adapters_and_null():
    names = set(build().state_dict())
    assert {name.split(".")[0] for name in names} == {"unet", "adapters", "null_D"}


def test_null_embedding_replaces_dropped_lesions():
    model = build()
    torch.nn.init.constant_(model.null_D, 5.0)
    dropped = model.drop_lesion(torch.zeros(2, 3, 6), torch.tensor([True, False]))
    assert dropped[0].unique().tolist() == [5.0]
    assert dropped[1].unique().tolist() == [0.0]
    assert model.null_lesion(2, 3).shape == (2, 3, 6)


def test_saved_and_loaded_denoiser_gives_the_same_bits(tmp_path):
    model = build().eval()
    for name, value in model.named_parameters():
        if name.endswith(("gamma", "null_D")):
            torch.nn.init.constant_(value, 0.4)
    save_denoiser(model, tmp_path)
    loaded = load_denoiser(tmp_path)
    assert torch.equal(loaded.null_D, model.null_D)
    assert torch.equal(loaded(*inputs(), 1.0), model(*inputs(), 1.0))
    assert not any(p.requires_grad for p in loaded.parameters())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter.safetensors", "unet"]
    assert sorted(p.name for p in (tmp_path / "unet").iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]


def test_plain_diffusers_loads_the_saved_unet(tmp_path):
    model = build().eval()
    save_denoiser(model, tmp_path)
    plain = UNet2DConditionModel.from_pretrained(tmp_path, subfolder="unet").eval()
    noisy, timestep, prompt, lesion = inputs()
    assert torch.equal(plain(noisy, timestep, prompt).sample, model(noisy, timestep, prompt, lesion, 0.0))


def test_pretrained_keeps_all_but_the_outer_convolutions(tmp_path):
    source = build(channels=4)
    source.unet.save_pretrained(tmp_path / "unet")
    before = source.unet.state_dict()
    after = build(channels=8, pretrained=str(tmp_path)).unet.state_dict()
    changed = {k for k in after if after[k].shape != before[k].shape}
    assert changed == {"conv_in.weight", "conv_out.weight", "conv_out.bias"}
    assert all(torch.equal(after[k], before[k]) for k in after if k not in changed)


def test_pretrained_with_prompts_of_another_width_is_refused(tmp_path):
    build().unet.save_pretrained(tmp_path / "unet")
    config = DenoiserConfig(pretrained=str(tmp_path))
    with pytest.raises(ConfigError, match=r"denoiser\.pretrained: .* width 10, its text encoder gives 12"):
        build_denoiser(config, 4, 8, 12, 6, 0)


@pytest.mark.parametrize(
    ("widths", "groups"),
    [([16, 32, 64], 4), ([64, 128, 128], 16), ([128, 256], 32), ([8, 16], 2), ([12, 20], 1)],
)
def test_norm_groups_divide_every_width(widths, groups):
    assert norm_groups(widths) == groups
    assert all(width % groups == 0 for width in widths)
