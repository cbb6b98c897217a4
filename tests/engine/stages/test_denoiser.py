"""Stage denoiser: files, report, resume, and blindness to everything but train."""

import json

import pytest
from diffusers import UNet2DConditionModel
from safetensors.numpy import load_file

from engine.stages import denoiser, latents, vae
from tests.fakes import kill_at_5, run_stage
from tests.fakes_diffusion import denoiser_weights, make_foundation, tiny, with_other_held_out_latents


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("foundation")
    inputs = make_foundation(tmp)
    for name, module in (("vae", vae), ("latents", latents)):
        inputs[name] = run_stage(module, tmp / name, inputs, module.Params.of(tiny()))
    return inputs


def run(folder, inputs, config=None, **context):
    run_stage(denoiser, folder, inputs, denoiser.Params.of(config or tiny()), **context)
    return json.loads((folder / "denoiser.json").read_text())


@pytest.mark.slow
def test_files_and_report(tmp_path, inputs):
    info = run(tmp_path / "d", inputs)
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [
        "adapter.safetensors",
        "denoiser.json",
        "unet",
    ]
    assert len(info["losses"]) == 8
    assert 0.1 < info["val_loss"] < 10
    assert info["val_loss_null_lesion"] != info["val_loss"]
    assert [step for step, _ in info["val_curve"]] == list(range(1, 9))
    assert info["val_loss"] == pytest.approx(min(loss for _, loss in info["val_curve"]))
    assert dict(map(tuple, info["val_curve"]))[info["kept_step"]] == pytest.approx(info["val_loss"])
    assert len(info["gammas"]) == 7
    assert info["scheduler"]["beta_schedule"] == "scaled_linear"
    assert (info["fuse"], info["beta"]) == ("mean", 1.0)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "d" / "unet")
    assert (unet.config.in_channels, unet.config.sample_size) == (4, 8)
    assert sum(p.numel() for p in unet.parameters()) < info["parameters"]
    tensors = load_file(tmp_path / "d" / "adapter.safetensors")
    assert tensors["null"].shape == (16,)
    assert sum(name.endswith(".gamma") for name in tensors) == 7


@pytest.mark.slow
def test_same_seed_same_bytes_other_seed_others(tmp_path, inputs):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, inputs, seed=seed)
    assert denoiser_weights(tmp_path / "a") == denoiser_weights(tmp_path / "b")
    assert denoiser_weights(tmp_path / "a") != denoiser_weights(tmp_path / "c")


@pytest.mark.slow
def test_resume_after_a_kill_gives_the_same_bytes(tmp_path, inputs):
    config = tiny(denoiser={"checkpoint_every": 3})
    run(tmp_path / "whole", inputs, config)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", inputs, config, launch=kill_at_5, checkpoint=tmp_path / "kept")
    run(tmp_path / "again", inputs, config, checkpoint=tmp_path / "kept")
    assert denoiser_weights(tmp_path / "again") == denoiser_weights(tmp_path / "whole")
    assert (tmp_path / "again/denoiser.json").read_bytes() == (tmp_path / "whole/denoiser.json").read_bytes()


def test_concat_and_zero_beta(tmp_path, inputs):
    info = run(tmp_path / "d", inputs, tiny(embedder={"fuse": "concat"}, denoiser={"beta": 0.0}))
    assert info["fuse"] == "concat"
    assert set(info["gammas"].values()) == {0.0}  # never ran, so never learned
    assert info["val_loss"] == info["val_loss_null_lesion"]


def test_held_out_lesions_are_not_learned_from(tmp_path, inputs):
    last = tiny(denoiser={"validations": 0})  # they choose among the weights that training passes through
    run(tmp_path / "before", inputs, last)
    changed = with_other_held_out_latents(tmp_path / "latents", inputs)
    run(tmp_path / "after", changed, last)
    assert denoiser_weights(tmp_path / "before") == denoiser_weights(tmp_path / "after")
