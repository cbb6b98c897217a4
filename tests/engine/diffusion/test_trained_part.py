"""What of a pre-trained denoiser learns: its adapters alone, or low-rank additions to attention too, merged at the end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from transformers import CLIPTextModel

from engine.config import DenoiserConfig
from engine.diffusion.denoiser import Denoiser, build_denoiser
from engine.diffusion.trained_part import choose_trained, merge, projections
from engine.errors import ConfigError
from engine.stages import denoiser, latents, vae
from engine.training.checkpoints import learned_tensors
from tests.fakes import kill_at_5, run_stage
from tests.fakes_diffusion import make_foundation, tiny

WIDTH = 16
"""Of the prompt and the lesion embeddings of ``tests.fakes_diffusion``."""
RANK = 2


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    tmp = tmp_path_factory.mktemp("foundation")
    found = make_foundation(tmp)
    for name, module in (("vae", vae), ("latents", latents)):
        found[name] = run_stage(module, tmp / name, found, module.Params.of(tiny()))
    return found


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Path]) -> Path:
    """A small U-Net with its text tower in the Hugging Face layout."""
    folder = tmp_path_factory.mktemp("pretrained")
    built(DenoiserConfig(widths=[8, 16], head_dim=8)).unet.save_pretrained(folder / "unet")
    CLIPTextModel.from_pretrained(inputs["embedder"] / "clip").save_pretrained(folder / "text_encoder")
    shutil.copytree(
        inputs["embedder"] / "clip", folder / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors")
    )
    return folder


def built(config: DenoiserConfig, channels: int = 4) -> Denoiser:
    return build_denoiser(config, channels, 8, WIDTH, WIDTH, seed=0)


def settings(pretrained: Path, train: str, **more: Any) -> dict[str, Any]:
    return {"pretrained": str(pretrained), "train": train, "lora_rank": RANK, **more}


def ran(
    folder: Path, inputs: dict[str, Path], asked: dict[str, Any], **context: Any
) -> dict[str, np.ndarray]:
    """Train in a stage; return the weights of the U-Net that it wrote."""
    run_stage(denoiser, folder, inputs, denoiser.Params.of(tiny(denoiser=asked)), **context)
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.mark.slow
def test_adapters_alone_leave_the_unet_as_it_was(
    tmp_path: Path, inputs: dict[str, Path], pretrained: Path
) -> None:
    before = load_file(pretrained / "unet" / "diffusion_pytorch_model.safetensors")
    after = ran(tmp_path / "one", inputs, settings(pretrained, "adapter"))
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    adapters = load_file(tmp_path / "one" / "adapter.safetensors")
    assert all(value != 0 for name, value in adapters.items() if name.endswith(".gamma"))


@pytest.mark.slow
def test_lora_is_merged_into_a_plain_unet_whose_attention_moved_by_its_rank(
    tmp_path: Path, inputs: dict[str, Path], pretrained: Path
) -> None:
    before = load_file(pretrained / "unet" / "diffusion_pytorch_model.safetensors")
    after = ran(tmp_path / "one", inputs, settings(pretrained, "lora", validations=0, lr=1e-2))
    assert before.keys() == after.keys(), "nothing of LoRA is left in what is saved"
    moved = {name for name, value in before.items() if not np.array_equal(after[name], value)}
    ends = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
    expected = {name for name in before if ".attn" in name and name.endswith(ends)}
    assert moved == expected
    for name in moved:
        change = after[name].astype(np.float64) - before[name]
        singular = np.linalg.svd(change, compute_uv=False)
        assert singular[RANK] < 1e-3 * singular[0], f"{name}: {singular[: RANK + 2]}"


@pytest.mark.slow
@pytest.mark.parametrize("train", ["adapter", "lora"])
def test_a_killed_training_ends_in_the_same_bytes_and_its_checkpoints_hold_what_learns(
    train: str, tmp_path: Path, inputs: dict[str, Path], pretrained: Path
) -> None:
    asked = settings(pretrained, train, checkpoint_every=3)

    whole = ran(tmp_path / "whole", inputs, asked)
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path / "killed", inputs, asked, launch=kill_at_5)
    kept, *_ = tmp_path.rglob("checkpoint-*.safetensors")
    with safe_open(kept, framework="np") as handle:
        names = set(handle.keys())
    assert any(name.startswith("model/adapters.") for name in names)
    assert not any(name.startswith("model/unet.") and "parametrizations" not in name for name in names)
    again = ran(tmp_path / "killed", inputs, asked)
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    assert (tmp_path / "whole" / "adapter.safetensors").read_bytes() == (
        tmp_path / "killed" / "adapter.safetensors"
    ).read_bytes()


def test_a_fresh_addition_changes_nothing_and_merging_a_trained_one_neither(pretrained: Path) -> None:
    config = DenoiserConfig(**settings(pretrained, "lora"))
    model, plain = built(config), built(config.model_copy(update={"train": "all"}))
    choose_trained(model, config, seed=0)
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(2, *s, generator=generator) for s in ((4, 8, 8), (5, WIDTH), (1, WIDTH))]
    given.insert(1, torch.tensor([3, 900]))
    with torch.no_grad():
        torch.testing.assert_close(model(*given, 1.0), plain(*given, 1.0), rtol=0, atol=0)
        for name, value in model.named_parameters():
            if name.endswith("up_OR"):
                value.normal_(generator=generator)
        trained = model(*given, 1.0)
        assert not torch.allclose(trained, plain(*given, 1.0), atol=1e-3)
        merge(model)
        torch.testing.assert_close(model(*given, 1.0), trained, rtol=0, atol=0)
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_layers_made_anew_for_other_channels_are_trained(pretrained: Path) -> None:
    config = DenoiserConfig(**settings(pretrained, "adapter"))
    model = built(config, channels=8)
    choose_trained(model, config, seed=0)
    of_unet = {name.removeprefix("unet.") for name in learned_tensors(model) if name.startswith("unet.")}
    assert of_unet == {"conv_in.weight", "conv_out.weight", "conv_out.bias"}
    assert {name for name, p in model.unet.named_parameters() if p.requires_grad} == of_unet


def test_the_rank_is_bounded_by_the_layer(pretrained: Path) -> None:
    config = DenoiserConfig(**{**settings(pretrained, "lora"), "lora_rank": 1000})
    model = built(config)
    choose_trained(model, config, seed=0)
    for layer in projections(model.unet):
        assert layer.parametrizations.weight[0].down_RI.shape[0] == min(layer.weight.shape)


@pytest.mark.parametrize("train", ["adapter", "lora"])
def test_without_a_pretrained_unet_it_is_refused(train: str) -> None:
    with pytest.raises(
        ConfigError, match=r"denoiser.*learned nothing; give denoiser\.pretrained, or denoiser\.train=all"
    ):
        tiny(denoiser={"train": train})
