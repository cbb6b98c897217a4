"""Any timm or torchvision model by name, at small sizes, with the weights given or none."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from engine.classifier import model as subject
from engine.classifier.inputs import IMAGENET_MEAN
from engine.classifier.model import build_model, choose_stem, known_models, load_matching, normalisation
from engine.errors import ConfigError, DataError


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg13", "vgg16", "vgg19", "resnet18", "resnet34"])
def test_the_papers_five_work_at_32_px(name):
    model = build_model(name, 7, 32).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    "name",
    [
        "resnet10t",
        "mobilenetv3_small_100",
        "test_convnext",
        "test_vit",
        "densenet121",
        "squeezenet1_1",
        "vit_b_32",
    ],
)
def test_other_families_work_at_32_px(name):
    model = build_model(name, 3, 32).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_googlenet_has_no_auxiliary_logits_in_training():
    model = build_model("googlenet", 3, 64)
    assert model.train()(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_small_resnet_stem_keeps_resolution():
    small, library = build_model("resnet18", 3, 32), build_model("resnet18", 3, 96)
    assert (small.conv1.kernel_size, small.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(small.maxpool, torch.nn.Identity)
    assert (library.conv1.kernel_size, library.conv1.stride) == ((7, 7), (2, 2))


@pytest.mark.slow
def test_small_vgg_has_no_hundred_million_weight_layer():
    assert sum(p.numel() for p in build_model("vgg13", 7, 32).parameters()) < 11e6


def test_stem_by_size_and_weights():
    assert choose_stem(64, False, None) == "small"
    assert choose_stem(65, False, None) == "library"
    assert choose_stem(64, True, None) == "unstrided"
    assert choose_stem(224, False, True) == "small"
    assert choose_stem(32, False, False) == "library"


def test_seed_decides_the_weights_and_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_model("test_resnet", 3, 16, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet81", 3, 32), "did you mean.*resnet18"),
        (("qqqqqqqqqqqqqqq", 3, 32), "for example resnet18"),
        (("test_vit", 3, 32, False, True), "small_stem: true, but test_vit has no stem"),
        (("inception_v3", 3, 16), "inception_v3 does not work on 16 px"),
    ],
)
def test_bad_config(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_model(*arguments)


def test_known_models_are_timms_and_torchvisions():
    assert {"resnet18", "convnext_atto", "googlenet"} <= set(known_models())


def test_weights_by_path_with_another_head(tmp_path):
    donor = timm.create_model("test_resnet", num_classes=10)
    save_file({k: v.contiguous() for k, v in donor.state_dict().items()}, tmp_path / "w.safetensors")
    model = build_model("test_resnet", 3, 32, str(tmp_path / "w.safetensors"))
    own, given = model.state_dict(), donor.state_dict()
    assert own["fc.weight"].shape[0] == 3
    assert all(torch.equal(own[k], given[k]) for k in own if not k.startswith("fc."))
    assert model.conv1[0].stride == (1, 1)


def test_weights_of_another_model_are_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(
        DataError, match=r"w.safetensors does not fit the model: .* is missing.* and \d+ more; choose"
    ):
        build_model("test_resnet", 3, 32, str(tmp_path / "w.safetensors"))


def test_weights_missing_or_broken(tmp_path):
    with pytest.raises(DataError, match="do not exist"):
        build_model("test_resnet", 3, 32, str(tmp_path / "none.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(DataError, match="no readable safetensors"):
        build_model("test_resnet", 3, 32, str(tmp_path / "bad.safetensors"))


def test_head_of_a_torchvision_model_is_its_last_layer():
    model = build_model("shufflenet_v2_x0_5", 3, 32)
    state = build_model("shufflenet_v2_x0_5", 5, 32).state_dict()
    load_matching(model, state, "weights")
    assert torch.equal(model.state_dict()["conv1.0.weight"], state["conv1.0.weight"])


def test_library_weights(monkeypatch):
    real = timm.create_model
    donor = real("test_resnet", num_classes=1000)
    monkeypatch.setattr(
        subject.timm, "create_model", lambda n, pretrained=False, **k: donor if pretrained else real(n, **k)
    )
    model = build_model("test_resnet", 3, 32, True)
    assert torch.equal(model.conv1[0].weight, donor.conv1[0].weight)


@pytest.mark.parametrize("name", ["test_resnet", "shufflenet_v2_x0_5"])
def test_library_weights_offline(monkeypatch, name):
    real = timm.create_model

    def create(n, pretrained=False, **k):
        if pretrained:
            raise FileNotFoundError("not in the cache")
        return real(n, **k)

    def download(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(subject.timm, "create_model", create)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with pytest.raises(
        DataError, match=f"weights of {name} could not be loaded .*HF_HUB_OFFLINE.*path of a safetensors"
    ):
        build_model(name, 3, 32, True)


def test_normalisation_is_the_pretrained_models():
    assert normalisation("test_vit", True) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert normalisation("test_vit", False)[0] == IMAGENET_MEAN
    assert normalisation("shufflenet_v2_x0_5", True)[0] == IMAGENET_MEAN
