"""Stage latents: train images in order, each with its mirror image."""

import json

import numpy as np

from engine.config import parse_config
from engine.execution.backend import LocalMap
from engine.parts.dataset import open_dataset
from engine.stages import latents
from tests.fakes import make_dataset_folders, run_stage


def test_identity_latents_are_the_scaled_pixels_and_their_mirror(tmp_path):
    images, split = make_dataset_folders(tmp_path, n_lesions=90)
    (tmp_path / "vae").mkdir()
    info = {"kind": "identity", "latents_mean": [0.5, 0.0, -0.5], "scaling_factor": 2.0}
    (tmp_path / "vae" / "vae.json").write_text(json.dumps(info))
    inputs = {"images": images, "split": split, "vae": tmp_path / "vae"}
    seen = []
    params = latents.Params.of(parse_config({"vae": {"kind": "identity", "downsample": 1}}))
    mapped = LocalMap(lambda what, done, total: seen.append((what, done, total)))
    run_stage(latents, tmp_path / "latents", inputs, params, map=mapped)
    values = np.load(tmp_path / "latents" / "latents.npy")
    dataset = open_dataset(images, split)
    rows = dataset.where("train")
    assert len(rows) > 32  # more than one chunk
    assert values.shape == (len(rows), 2, 3, 16, 16)
    assert values.dtype == np.float32
    pixels = dataset.images_NHWC[dataset.rows[rows]].transpose(0, 3, 1, 2) / 127.5 - 1
    expected = (pixels - np.array([0.5, 0.0, -0.5])[:, None, None]) * 2.0
    assert np.allclose(values[:, 0], expected, atol=1e-5)
    assert np.array_equal(values[:, 1], values[:, 0, :, :, ::-1])
    assert seen == [("latents", 1, 2), ("latents", 2, 2)], "chunks of 32; the map alone says how far it is"
