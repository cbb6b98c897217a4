"""Stage likelihood: val images alone, the same figure from the same seed, and none for a model with a VAE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import build
from engine.errors import ConfigError
from engine.parts.dataset import open_dataset
from engine.stages import denoiser, latents, likelihood, vae
from tests.fakes import run_stage
from tests.fakes_diffusion import make_foundation, tiny
from tests.integration.tiny import tiny_tree

PIXELS = {"kind": "identity", "downsample": 1}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    tmp = tmp_path_factory.mktemp("pixels")
    found = make_foundation(tmp)
    config = tiny(vae=PIXELS)
    for name, module in (("vae", vae), ("latents", latents), ("denoiser", denoiser)):
        found[name] = run_stage(module, tmp / name, found, module.Params.of(config))
    return found


def run(folder: Path, inputs: dict[str, Path], images: int, seed: int = 0) -> dict[str, Any]:
    config = tiny(vae=PIXELS, evaluation={"likelihood": images})
    run_stage(likelihood, folder, inputs, likelihood.Params.of(config), seed=seed)
    found: dict[str, Any] = json.loads((folder / "likelihood.json").read_text())
    return found


@pytest.mark.slow
def test_bits_of_val_images(tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(inputs["images"], inputs["split"])
    val = len(dataset.where("val"))
    seen: list[np.ndarray] = []
    real = likelihood.bits_per_dimension

    def watched(model: Any, codec: Any, images: Any, generator: Any) -> Any:
        seen.append(images)
        return real(model, codec, images, generator)

    monkeypatch.setattr(likelihood, "bits_per_dimension", watched)
    found = run(tmp_path / "a", inputs, 3)
    assert (found["n"], found["part"]) == (3, "val")
    bits = found["bits_per_dimension"]
    assert bits["low"] <= bits["value"] <= bits["high"]
    assert 2 < bits["value"] < 12, "8 is what a uniform model needs; this one is hardly trained"
    stored = [image.tobytes() for image in dataset.images_NHWC[dataset.rows[dataset.where("val")]]]
    assert all(image.tobytes() in stored for image in np.concatenate(seen))
    assert run(tmp_path / "b", inputs, 3) == found
    assert run(tmp_path / "c", inputs, 3, seed=1) != found
    monkeypatch.setattr(
        likelihood, "bits_per_dimension", lambda model, codec, images, _: np.ones(len(images))
    )
    assert run(tmp_path / "d", inputs, 10_000)["n"] == val


def test_a_model_with_a_vae_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny_tree(str(tmp_path), evaluation={"likelihood": 4})), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"evaluation\.likelihood needs a diffusion model of pixels"):
        build.load(path)
