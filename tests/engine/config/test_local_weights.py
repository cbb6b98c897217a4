"""Local weights: a path told from a hub id, and refused with its key before a run computes anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from engine import build
from engine.config.loading import parse_config
from engine.config.local_weights import as_path
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("openai/clip-vit-base-patch32", None),
        ("org/here", Path("org/here")),
        ("/nowhere", Path("/nowhere")),
        ("./nowhere", Path("nowhere")),
        ("../nowhere", Path("../nowhere")),
        ("~/nowhere", Path.home() / "nowhere"),
        ("~no-such-user/x", Path("~no-such-user/x")),
    ],
)
def test_a_value_is_a_path_by_its_start_or_because_it_exists(
    given: str, path: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert as_path(given) == path


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("embedder", "/nowhere", "/nowhere does not exist; give the folder of a CLIP model"),
        ("vae", "./nowhere", "./nowhere does not exist; give the folder of an AutoencoderKL"),
        ("denoiser", "{0}/text", "{0}/text is a file, not a folder; give the folder of a UNet2DConditionModel"),
        ("vae", "{0}", "{0} has no config.json; give the folder of an AutoencoderKL"),
        ("denoiser", "{0}", "{0} has no unet/config.json; give the folder of a UNet2DConditionModel"),
        ("classifier", "nowhere", "classifier weights nowhere do not exist; give the path of a safetensors file"),
        ("classifier", "{0}", "classifier weights {0} are a folder; give"),
        ("judge", "{0}/text", "classifier weights {0}/text are no readable safetensors file ("),
        ("classifier", "{0}/w.safetensors", "{0}/w.safetensors does not fit the model: "),
    ],
)  # fmt: skip
def test_a_run_with_a_wrong_path_is_refused_at_once(
    key: str, value: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no weights")
    (tmp_path / "unet").mkdir()
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    tree: dict[str, Any] = {"output": str(tmp_path / "runs"), key: {"pretrained": value.format(tmp_path)}}
    with pytest.raises(ConfigError) as caught:
        build.run(parse_config(tree))
    assert str(caught.value).startswith(f"{key}.pretrained: " + message.format(tmp_path))
    assert not (tmp_path / "runs").exists()


def test_every_problem_is_named_and_hub_ids_and_good_files_are_none(tmp_path: Path) -> None:
    for folder in (tmp_path / "sd" / "vae", tmp_path / "clip"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    weights = timm.create_model("test_resnet", num_classes=10).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, tmp_path / "w.safetensors")
    good = {
        "embedder": {"pretrained": str(tmp_path / "clip")},
        "vae": {"pretrained": str(tmp_path / "sd")},
        "denoiser": {"pretrained": "nobody/sd"},
        "classifier": {"model": "test_resnet", "pretrained": str(tmp_path / "w.safetensors")},
        "judge": {"pretrained": True},
    }
    assert build.model_problems(parse_config(good)) == []
    bad = {
        "classifier": {"model": "resnet999"},
        "vae": {"pretrained": "/a"},
        "denoiser": {"pretrained": "/b"},
    }
    with pytest.raises(ConfigError) as caught:
        build.check_models(parse_config(bad))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "classifier.model", "vae.pretrained", "denoiser.pretrained",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("classifier", {"model": "inception_v4"}, "classifier.model: inception_v4 does not work on 16 px images ("),
        ("judge", {"model": "vit_tiny_patch16_224", "small_stem": True}, "judge.small_stem: true, but vit_tiny"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_built_is_refused_at_once(
    section: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tree: dict[str, Any] = {"output": str(tmp_path / "runs"), "data": {"image_size": 16}, section: changes}
    with pytest.raises(ConfigError) as caught:
        build.run(parse_config(tree))
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "runs").exists()
