"""Stage vae: files, figures on held-out lesions only, resume, identity."""

import json

import numpy as np
import pytest
from diffusers import AutoencoderKL

from engine.diffusion.codec import load_codec
from engine.diffusion.holdout import held_out
from engine.parts.dataset import open_dataset
from engine.stages import vae
from tests.fakes import kill_at_5, make_dataset_folders, run_stage
from tests.fakes_diffusion import tiny

PIXELS = tiny(vae={"kind": "identity", "downsample": 1})


@pytest.fixture
def inputs(tmp_path):
    images, split = make_dataset_folders(tmp_path)
    return {"images": images, "split": split}


def run(folder, inputs, config=None, **context):
    run_stage(vae, folder, inputs, vae.Params.of(config or tiny()), **context)
    return json.loads((folder / "vae.json").read_text())


def test_files_and_scaling(tmp_path, inputs):
    info = run(tmp_path / "vae", inputs)
    assert sorted(p.name for p in (tmp_path / "vae").iterdir()) == ["vae", "vae.json"]
    assert len(info["losses"]) == 8
    assert all(np.isfinite(info[k]) for k in ("psnr", "l1", "ssim", "colour_error"))
    dataset = open_dataset(inputs["images"], inputs["split"])
    rows = dataset.where("train")
    aside = held_out(dataset.table.lesion_id[rows])
    assert info["held_out"] == aside.sum() > 0
    learned = np.asarray(dataset.images_NHWC[dataset.rows[rows[~aside]]])
    latent = load_codec(tmp_path / "vae").encode(learned)
    assert float(latent.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(latent.std(correction=0)) == pytest.approx(1.0, abs=1e-3)


def test_the_linear_start_is_used_and_can_be_left_out(tmp_path, inputs):
    linear = run(tmp_path / "linear", inputs)
    random = run(tmp_path / "random", inputs, tiny(vae={"start": "random"}))
    assert (linear["start"], random["start"]) == ("linear", "random")
    assert linear["psnr"] > random["psnr"] + 1.0


def test_plain_diffusers_reads_the_scaling(tmp_path, inputs):
    info = run(tmp_path / "vae", inputs)
    plain = AutoencoderKL.from_pretrained(tmp_path / "vae" / "vae")
    assert plain.config.scaling_factor == info["scaling_factor"]
    assert list(plain.config.latents_mean) == info["latents_mean"]
    assert plain.config.latent_channels == 4


def test_resume_after_a_kill_gives_the_same_bytes(tmp_path, inputs):
    config = tiny(vae={"checkpoint_every": 3})
    run(tmp_path / "whole", inputs, config)

    checkpoint = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", inputs, config, launch=kill_at_5, checkpoint=checkpoint)
    run(tmp_path / "again", inputs, config, checkpoint=checkpoint)
    for name in ("vae.json", "vae/diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_identity_trains_nothing(tmp_path, inputs):
    info = run(tmp_path / "vae", inputs, PIXELS)
    assert info["kind"] == "identity"
    assert info["losses"] == []
    assert info["l1"] == 0.0
    assert not (tmp_path / "vae" / "vae").exists()


def test_other_parts_than_train_change_nothing(tmp_path, inputs):
    run(tmp_path / "before", inputs)
    images = np.load(inputs["images"] / "images.npy")
    dataset = open_dataset(inputs["images"], inputs["split"])
    for part in ("mine", "val", "test"):
        images[dataset.rows[dataset.where(part)]] = 0
    np.save(inputs["images"] / "images.npy", images)
    run(tmp_path / "after", inputs)
    assert (tmp_path / "before" / "vae.json").read_bytes() == (tmp_path / "after" / "vae.json").read_bytes()


def test_only_the_main_worker_writes(tmp_path, inputs):
    def second_worker(fit):
        from engine.training.plan import TrainEnv

        fit(TrainEnv(rank=1, world=1))

    run_stage(vae, tmp_path / "vae", inputs, vae.Params.of(PIXELS), launch=second_worker)
    assert list((tmp_path / "vae").iterdir()) == []
