"""Eq. 2 exactly: silent at gamma 0 or beta 0, a two-token example by hand, gradients, plain saving."""

import copy
import math
import pickle

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from engine.diffusion.adapter import (
    LesionAdapter,
    adapter_arguments,
    attach_adapters,
    gammas,
    make_adapters,
    transformer_blocks,
)

D = 6


def tiny_unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=10,
        norm_num_groups=2,
    )


@pytest.fixture
def parts():
    unet = tiny_unet()
    return unet, make_adapters(unet, D)


def arguments(seed=1, batch=2):
    generator = torch.Generator().manual_seed(seed)
    noisy, prompt, lesion = (
        torch.randn(batch, *shape, generator=generator) for shape in ((4, 8, 8), (5, 10), (3, D))
    )
    return noisy, torch.tensor([10, 700][:batch]), prompt, lesion


def call(unet, beta, lesion=None):
    noisy, timestep, prompt, tokens = arguments()
    tokens = tokens if lesion is None else lesion
    extra = adapter_arguments(tokens, beta)
    return unet(noisy, timestep, encoder_hidden_states=prompt, cross_attention_kwargs=extra).sample


def open_gammas(adapters, value=0.7):
    for adapter in adapters.values():
        nn.init.constant_(adapter.gamma, value)


def test_two_tokens_by_hand():
    adapter = LesionAdapter(width=2, lesion_width=2, heads=1)
    adapter.norm = nn.Identity()
    for layer in (adapter.project, adapter.query, adapter.key, adapter.value, adapter.out):
        nn.init.eye_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    nn.init.constant_(adapter.gamma, math.atanh(0.5))
    visual, lesion = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    # scores (1, 0) / sqrt(2); attention a on itself, 1 - a on the lesion; v + 2 * 0.5 * (a, 1 - a)
    a = math.exp(1 / math.sqrt(2)) / (math.exp(1 / math.sqrt(2)) + 1)
    assert adapter(visual, (lesion, 2.0)).flatten().tolist() == pytest.approx([1 + a, 1 - a], abs=1e-6)


def test_equals_self_attention_over_all_tokens_with_only_visual_rows_kept():
    torch.manual_seed(0)
    adapter = LesionAdapter(width=8, lesion_width=D, heads=2)
    visual, lesion = torch.randn(2, 4, 8), adapter.project(torch.randn(2, 3, D))
    sequence = adapter.norm(torch.cat([visual, lesion], dim=1))
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    weights = torch.cat([adapter.query.weight, adapter.key.weight, adapter.value.weight])
    with torch.no_grad():
        reference.in_proj_weight.copy_(weights)
        reference.in_proj_bias.zero_()
        reference.out_proj.weight.copy_(adapter.out.weight)
        reference.out_proj.bias.copy_(adapter.out.bias)
    whole, _ = reference(sequence, sequence, sequence)
    assert torch.allclose(adapter.attend(visual, lesion), whole[:, :4], atol=1e-6)


def test_every_block_gets_an_adapter(parts):
    unet, adapters = parts
    blocks = transformer_blocks(unet)
    assert len(adapters) == len(blocks) == 7  # one a down level, two an up level, one in the middle
    assert {name.split(".")[0] for name in blocks} == {"down_blocks", "mid_block", "up_blocks"}
    assert set(gammas(adapters).values()) == {0.0}


def test_gamma_zero_and_beta_zero_are_the_bare_unet_bit_for_bit(parts):
    unet, adapters = parts
    bare = call(unet, 0.0)
    attach_adapters(unet, adapters)
    assert torch.equal(call(unet, 1.0), bare)
    open_gammas(adapters)
    assert torch.equal(call(unet, 0.0), bare)
    assert not torch.allclose(call(unet, 1.0), bare)


def test_beta_scales_and_the_lesion_matters(parts):
    unet, adapters = parts
    attach_adapters(unet, adapters)
    open_gammas(adapters)
    full, half = call(unet, 1.0), call(unet, 0.5)
    assert not torch.allclose(full, half)
    assert not torch.allclose(call(unet, 1.0, torch.zeros(2, 3, D)), full)


def test_gradients(parts):
    unet, adapters = parts
    attach_adapters(unet, adapters)
    call(unet, 1.0).square().sum().backward()
    for adapter in adapters.values():
        assert float(adapter.gamma.grad.abs()) > 0
        assert all(float(p.grad.abs().sum()) == 0 for n, p in adapter.named_parameters() if n != "gamma")
    open_gammas(adapters)
    call(unet, 1.0).square().sum().backward()
    for adapter in adapters.values():
        for layer in (adapter.project, adapter.query, adapter.key, adapter.value, adapter.out):
            assert float(layer.weight.grad.abs().sum()) > 0


def test_stands_between_self_attention_and_cross_attention(parts):
    unet, adapters = parts
    attach_adapters(unet, adapters)
    order = []
    name, block = next(iter(transformer_blocks(unet).items()))
    for what, module in (
        ("self", block.attn1),
        ("adapter", block.fuser),
        ("cross", block.attn2),
        ("ff", block.ff),
    ):
        module.register_forward_hook(lambda *_, what=what: order.append(what))
    call(unet, 1.0)
    assert order == ["self", "adapter", "cross", "ff"], name


def test_unet_state_has_nothing_of_the_adapters_and_loads_as_plain_diffusers(parts, tmp_path):
    unet, adapters = parts
    names = set(unet.state_dict())
    bare = call(unet, 0.0)
    attach_adapters(unet, adapters)
    assert set(unet.state_dict()) == names
    unet.save_pretrained(tmp_path)
    plain = UNet2DConditionModel.from_pretrained(tmp_path)
    assert plain.config.attention_type == "default"
    assert torch.equal(call(plain.eval(), 0.0), bare)


def test_gradient_checkpointing_changes_nothing(parts):
    unet, adapters = parts
    attach_adapters(unet, adapters)
    open_gammas(adapters)
    plain = call(unet, 1.0)
    unet.enable_gradient_checkpointing()
    unet.train()
    checkpointed = call(unet, 1.0)
    checkpointed.sum().backward()
    assert torch.equal(plain, checkpointed)
    assert all(float(a.gamma.grad.abs()) > 0 for a in adapters.values())


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_carry_their_own_adapters(parts, clone):
    unet, adapters = parts
    attach_adapters(unet, adapters)
    both = nn.ModuleDict({"unet": unet, "adapters": adapters})
    twin = clone(both)
    open_gammas(twin["adapters"])
    assert torch.equal(call(unet, 1.0), call(unet, 0.0))
    assert not torch.equal(call(twin["unet"], 1.0), call(twin["unet"], 0.0))


def test_gammas_are_reported_by_block(parts):
    _, adapters = parts
    open_gammas(adapters, 0.25)
    report = gammas(adapters)
    assert set(report.values()) == {0.25}
    assert set(report) == set(adapters.keys())
