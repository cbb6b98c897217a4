"""Plans by hand: a training in multiples of its weights, published sizes, and what a GPU's autocast keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.config import parse_config
from engine.planning import architectures, trainings
from engine.planning.live_memory import LiveMemory, autocast, fake_tensors, faked, like_a_gpu, peak_of
from engine.planning.one_training import Training
from engine.planning.plan import PLANNERS, plan_memory
from engine.planning.setting import DataSize, Need, Setting, largest

HAM10000 = DataSize(train=10_015, classes=7, captions=1_040, words=50, tokens=24)
"""All of it: no split trains on more. 1,040 different (diagnosis, site, sex, age) in its table."""
SD = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def setting(tree: dict[str, Any], *, gpu: bool = False) -> Setting:
    return Setting(config=parse_config(tree), data=HAM10000, gpu=gpu)


def test_live_memory_counts_what_is_alive_and_views_once() -> None:
    with LiveMemory() as live:
        first = torch.empty(256)  # 1 KiB
        view = first[:10].view(2, 5)
        second = first * 2
        assert live.held == 2048
        del first
        assert live.held == 2048, "a view keeps it"
        del view, second
        assert live.held == 0
        torch.empty(64).add_(1)
    assert live.peak == 2048


def test_fake_tensors_hold_nothing_and_leave_random_numbers_alone() -> None:
    state = torch.get_rng_state()
    with fake_tensors():
        assert peak_of(lambda: torch.rand(2**40)) == 2**42, "4 TiB"
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("gpu", [False, True])
def test_a_training_is_weights_gradients_moments_and_average(gpu: bool) -> None:
    """nn.Linear(1000, 1000, bias=False): 4 MB each of weights, gradients and average, 8 MB of moments."""
    with fake_tensors():
        model = nn.Linear(1000, 1000, bias=False)
        given = torch.empty(1, 1000)
        need = Training(model=model, loss=lambda: model(given).sum(), averaged=True).need(
            setting({}, gpu=gpu)
        )
    assert (need.parts["weights"], need.parts["gradients"]) == (4_000_000, 4_000_000)
    assert (need.parts["moments"], need.parts["average"]) == (8_000_000, 4_000_000)
    assert need.parts["activations"] < 20_000
    assert need.host == (16_000_000 if gpu else 0), "a checkpoint's copies: weights, average, moments"


def test_moments_in_8_bit_are_a_quarter() -> None:
    """Of nn.Linear(1024, 1024): codes and a scale per 256 values; a step works with 20 bytes per value."""
    with fake_tensors():
        model = nn.Linear(1024, 1024, bias=False)
        loss = lambda: model(torch.empty(1, 1024)).sum()  # noqa: E731
        need = Training(model=model, loss=loss, optimizer="adamw8bit").need(setting({}))
    assert need.moment == "while weights are updated"
    assert need.parts["moments"] == 2 * (2**20 + 2**20 // 64)
    assert need.parts["copies"] == 20 * 2**20


def test_workers_average_gradients_in_a_bucket_more_and_share_a_batch() -> None:
    tree = {
        "backend": {"kind": "ray", "train_workers": [3, 8]},
        "denoiser": {"batch_size": 8, "accumulate": 2},
    }
    shared = setting(tree)
    assert shared.world == 3, "the fewest: their shares are largest"
    assert shared.piece(shared.config.denoiser) == 2, "8 on 3 workers: 3, in 2 pieces: 2"
    with fake_tensors():
        model = nn.Linear(100, 100, bias=False)
        need = Training(model=model, loss=lambda: model(torch.empty(1, 100)).sum()).need(shared)
    assert need.moment == "while workers average"
    assert need.peak == 40_000 * (1 + 2 + 1 + 1)


@pytest.mark.parametrize("gpu", [False, True])
def test_workers_that_share_moments_and_average_out_hold_their_part(gpu: bool) -> None:
    """Five weights of 40,000 bytes on two workers: three are the larger part. For a checkpoint the main one has all."""
    tree = {"backend": {"kind": "ray", "train_workers": 2, "shard_optimizer": True}}
    with fake_tensors():
        model = nn.Sequential(*[nn.Linear(100, 100, bias=False) for _ in range(5)])
        loss = lambda: model(torch.empty(1, 100)).sum()  # noqa: E731
        need = Training(model=model, loss=loss, averaged=True).need(setting(tree, gpu=gpu))
    own, saved = 3 * 40_000 * (2 + 1), 5 * 40_000 * (1 + 2 + 1)
    assert need.parts["moments"] + need.parts["average"] == own
    held = 5 * 40_000 * 2 + own
    if gpu:
        assert (need.moment, need.peak) == ("while workers average", held + 5 * 40_000)
        assert need.host == saved
    else:
        assert (need.moment, need.peak) == ("in a checkpoint", held + saved - own - 5 * 40_000)


def test_the_largest_moment_counts_and_host_memory_is_the_devices_on_a_cpu() -> None:
    moments = [("a", {"x": 3}), ("b", {"x": 2, "y": 2})]
    assert largest(moments, host=[5], gpu=True) == Need(moment="b", parts={"x": 2, "y": 2}, host=5)
    assert largest(moments, host=[5], gpu=False).peak == 9


def test_absent_models_have_their_published_sizes() -> None:
    tree = {
        "vae": {"pretrained": SD, "downsample": 8, "latent_channels": 4},
        "denoiser": {"pretrained": SD},
        "embedder": {"pretrained": "openai/clip-vit-large-patch14"},
    }
    absent = setting(tree)
    assert architectures.assumed(absent.config) == [
        f"{s}.pretrained" for s in ("embedder", "vae", "denoiser")
    ]
    with fake_tensors():
        models = {
            "unet": architectures.denoiser(absent).unet,
            "vae": architectures.autoencoder(absent),
            "text": architectures.text_tower(absent),
            "vision": architectures.clip(absent).vision_model,
        }
        counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    assert counts == {"unet": 859_520_964, "vae": 83_653_863, "text": 123_060_480, "vision": 303_179_776}


def test_a_folder_is_planned_by_its_own_config(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    made = AutoencoderKL(block_out_channels=(32, 32), norm_num_groups=8, latent_channels=4, **blocks)
    made.save_pretrained(tmp_path / "vae")
    given = setting({"vae": {"pretrained": str(tmp_path), "downsample": 2, "latent_channels": 4}})
    with fake_tensors():
        found = architectures.autoencoder(given)
    assert sum(p.numel() for p in found.parameters()) == sum(p.numel() for p in made.parameters())
    assert architectures.assumed(given.config) == []


@pytest.mark.slow
def test_a_frozen_unet_has_neither_gradients_nor_moments_nor_an_average(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    levels = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    made = UNet2DConditionModel(
        block_out_channels=(32, 64), cross_attention_dim=768, norm_num_groups=8, **levels
    )
    made.save_pretrained(tmp_path / "unet")
    needs = {}
    for train in ("all", "lora", "adapter"):
        asked = {"pretrained": str(tmp_path), "train": train, "batch_size": 48, "validations": 0}
        with fake_tensors():
            needs[train] = trainings.denoiser(setting({"denoiser": asked, "data": {"image_size": 32}}))
    weights = {train: need.parts["weights"] for train, need in needs.items()}
    assert weights["all"] == weights["adapter"] < weights["lora"] < 1.2 * weights["all"]
    for part in ("moments", "average"):
        size = {train: need.parts[part] for train, need in needs.items()}
        assert size["adapter"] < size["lora"] < 0.5 * size["all"]
    assert needs["adapter"].peak < needs["lora"].peak < needs["all"].peak


def test_norms_take_float32_under_a_gpus_autocast() -> None:
    """256 bf16 values in; CUDA's norm sees (and keeps) 1 KiB of float32, a CPU's 512 bytes."""
    with fake_tensors():
        norm = nn.LayerNorm(256)
        given = torch.empty(1, 256, dtype=torch.bfloat16)
        with autocast("bf16"):
            assert norm(given).dtype == torch.bfloat16
            like_a_gpu(norm)
            assert norm(given).dtype == torch.float32
        assert norm(given.float()).dtype == torch.float32


def test_a_network_that_reads_values_while_it_is_built_is_planned_too() -> None:
    """convnext reads its rates of stochastic depth from a tensor."""
    given = setting({"judge": {"model": "convnext_atto"}, "data": {"image_size": 32}})
    assert plan_memory(given, ["judge", "split"]).keys() == {"judge"}


def test_faked_keeps_what_is_trained() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module[0].bias.requires_grad_(False)
    with fake_tensors():
        faked(module)
    assert {p.device.type for p in module.parameters()} == {"cpu"}
    assert [p.requires_grad for p in module.parameters()] == [True, False, True, True]


def test_what_cannot_be_planned_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> nn.Module:
        raise RuntimeError("reads the values of a tensor")

    monkeypatch.setattr(trainings, "bare_model", refuse)
    assert plan_memory(setting({}), ["classifier"]) == {}


def test_pixels_have_no_vae() -> None:
    given = setting({"vae": {"kind": "identity", "downsample": 1}, "data": {"image_size": 16}})
    assert given.latent == (3, 16, 16)
    assert plan_memory(given, ["vae", "latents"]) == {}


@pytest.mark.slow
def test_every_planner_makes_a_plan_with_everything_that_guides() -> None:
    tree = {
        "data": {"image_size": 32},
        "synthesis": {
            "adversarial_scale": 1.0,
            "strength": 0.5,
            "lesion_guidance_scale": 2.0,
            "batch_size": 4,
        },
        "embedder": {"fuse": "concat"},
    }
    plan = plan_memory(setting(tree), PLANNERS)
    assert plan.keys() == PLANNERS.keys() - {"distill"}
    assert plan["synthesize"].moment == "in a gradient of guidance"
    assert all(need.peak > 2**20 for need in plan.values())


def test_a_student_is_trained_beside_its_teacher_and_sampled_without_guidance() -> None:
    tree: dict[str, Any] = {"data": {"image_size": 32}, "synthesis": {"guidance_scale": 2.0}}
    distilled = {**tree, "denoiser": {"distill": {}}}
    plan = plan_memory(setting(distilled), ["denoiser", "distill", "synthesize"])
    assert plan["distill"].parts["data"] > plan["denoiser"].parts["weights"]
    without = plan_memory(setting(tree), ["denoiser", "distill", "synthesize"])
    assert "distill" not in without
    assert without["denoiser"] == plan["denoiser"]
    assert plan["synthesize"].peak <= without["synthesize"].peak
