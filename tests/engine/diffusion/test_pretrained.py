"""Loading one part of a checkpoint: sub-folder or top, and the message when nothing is there."""

import json

import pytest
import torch
from diffusers import UNet2DConditionModel

from engine.config import DenoiserConfig, VaeConfig
from engine.diffusion.codec import load_codec
from engine.diffusion.denoiser import build_denoiser, load_denoiser, save_denoiser
from engine.diffusion.pretrained import load_part, refit
from engine.diffusion.vae import build_vae
from engine.errors import ConfigError


class Library:
    """Stands for a class with from_pretrained that knows some places."""

    known = ()

    @classmethod
    def from_pretrained(cls, name, **options):
        place = (name, options.get("subfolder"))
        if place not in cls.known:
            raise OSError(f"{name} does not appear to have\na config")
        return place, options


def library(*known):
    return type("Known", (Library,), {"known": known})


def test_hub_id_tries_the_sub_folder_then_the_top():
    both = library(("org/model", "vae"), ("org/model", None))
    assert load_part(both, "org/model", "vae", "vae.pretrained")[0] == ("org/model", "vae")
    top = library(("org/model", None))
    assert load_part(top, "org/model", "vae", "vae.pretrained")[0] == ("org/model", None)


def test_local_folder_is_never_looked_for_on_the_hub(tmp_path):
    (tmp_path / "vae").mkdir()
    kind = library((str(tmp_path / "vae"), None))
    place, options = load_part(kind, str(tmp_path), "vae", "vae.pretrained", extra=1)
    assert place == (str(tmp_path / "vae"), None)
    assert options == {"local_files_only": True, "extra": 1, "use_safetensors": True}


def test_a_path_that_is_gone_is_not_looked_for_on_the_hub_either():
    place, options = load_part(library(("/nowhere", None)), "/nowhere", "vae", "vae.pretrained")
    assert (place, options) == (("/nowhere", None), {"local_files_only": True, "use_safetensors": True})


def test_message_names_field_value_and_remedy_on_one_line():
    with pytest.raises(ConfigError) as caught:
        load_part(library(), "org/none", "unet", "denoiser.pretrained")
    message = str(caught.value)
    assert message.startswith("denoiser.pretrained: no unet could be loaded from 'org/none'")
    assert "Hugging Face layout" in message
    assert "\n" not in message


def test_refit_returns_a_fitting_model_itself():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=2,
        cross_attention_dim=8,
        attention_head_dim=1,
    )
    assert refit(unet, in_channels=4, out_channels=4) is unet
    wider = refit(unet, in_channels=6)
    assert wider.conv_in.weight.shape[1] == 6
    assert torch.equal(wider.conv_out.weight, unet.conv_out.weight)


def test_diffusers_loads_without_advice_to_install_accelerate(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("diffusers.models.modeling_utils.logger.warning", lambda text, *_: said.append(text))
    config = DenoiserConfig(widths=[16, 16])
    denoiser = build_denoiser(config, 4, 8, 12, 10, seed=0)
    save_denoiser(denoiser, tmp_path)
    vae = build_vae(VaeConfig(widths=[8], downsample=1, latent_channels=2), 16, seed=0)
    vae.save_pretrained(tmp_path / "vae")
    info = {"kind": "kl", "latents_mean": [0.0, 0.0], "scaling_factor": 1.0}
    (tmp_path / "vae.json").write_text(json.dumps(info))
    again = VaeConfig(pretrained=str(tmp_path), downsample=1, latent_channels=2)
    loaded = {
        "unet": (denoiser.unet, load_denoiser(tmp_path).unet),
        "pretrained unet": (
            denoiser.unet,
            build_denoiser(
                config.model_copy(update={"pretrained": str(tmp_path)}), 4, 8, 12, 10, seed=1
            ).unet,
        ),
        "codec": (vae, load_codec(tmp_path).vae),
        "pretrained vae": (vae, build_vae(again, 16, seed=1)),
    }
    for what, (saved, read) in loaded.items():
        for name, tensor in saved.state_dict().items():
            found = read.state_dict()[name]
            assert found.dtype == torch.float32 and torch.equal(found, tensor), (what, name)
    assert said == []
