"""Plain attention of a denoiser in bf16 on a CPU gives what the fused one gives."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch.nn import functional as F

from engine.config import DenoiserConfig
from engine.diffusion.attention import choose_attention, plain_attention
from engine.diffusion.denoiser import build_denoiser
from engine.training.plan import TrainEnv

BF16 = TrainEnv(precision="bf16")


def build():
    config = DenoiserConfig(widths=[8, 16], head_dim=8)
    model = build_denoiser(config, 4, 8, 10, 6, seed=0)
    for adapter in model.adapters.values():
        torch.nn.init.constant_(adapter.gamma, 0.5)  # shut at first, and then no adapter would be seen
    return model


def outcome(model):
    """The output and all gradients."""
    drawn = torch.Generator().manual_seed(1)
    noisy, prompt, lesion = (torch.randn(2, *s, generator=drawn) for s in ((4, 8, 8), (5, 10), (1, 6)))
    model.zero_grad()
    output = model(noisy, torch.tensor([3, 900]), prompt, lesion, 1.0)
    (output**2).mean().backward()
    named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"output": output.detach(), **named}


@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (9, 5), (1, 3)])
def test_plain_attention_is_scaled_dot_product_attention(queries, keys):
    drawn = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 8, generator=drawn) for n in (queries, keys, keys))
    torch.testing.assert_close(
        plain_attention(query, key, value), F.scaled_dot_product_attention(query, key, value)
    )


def test_a_denoiser_computes_the_same_either_way():
    model = build()
    fused = outcome(model)
    choose_attention(model, BF16)
    plain = outcome(model)
    assert fused.keys() == plain.keys() and any("adapters" in name for name in plain)
    for name, value in fused.items():
        torch.testing.assert_close(plain[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_it_is_chosen_in_bf16_on_a_cpu_alone():
    for env, chosen in (
        (BF16, True),
        (TrainEnv(), False),
        (TrainEnv(precision="bf16", device="cuda:0"), False),
    ):
        model = build()
        choose_attention(model, env)
        kinds = {type(one) for one in model.unet.attn_processors.values()}
        assert kinds == {AttnProcessor if chosen else AttnProcessor2_0}
        assert {adapter.plain for adapter in model.adapters.values()} == {chosen}


def test_processors_of_another_kind_stay():
    model, own = build(), object()
    name = next(iter(model.unet.attn_processors))
    attention = model.unet.get_submodule(name.removesuffix(".processor"))
    attention.processor = own
    choose_attention(model, BF16)
    assert attention.processor is own
