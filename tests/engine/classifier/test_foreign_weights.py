"""Weights of other programs: resampled to the image size as the library does it, found behind any wrapper's prefix."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from engine.classifier.foreign_weights import without_prefixes
from engine.classifier.model import bare_model, build_model
from engine.errors import DataError


def donor(name: str, size: int) -> nn.Module:
    torch.manual_seed(3)
    if timm.is_model(name):
        return timm.create_model(name, num_classes=5, img_size=size)  # type: ignore[no-any-return]
    return torchvision.models.get_model(name, weights=None, num_classes=5, image_size=size)  # type: ignore[no-any-return]


def written(model: nn.Module, path: Path, prefix: str = "") -> str:
    save_file({prefix + k: v.contiguous().clone() for k, v in model.state_dict().items()}, path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "made", "wanted"),
    [
        ("test_vit", 160, 64),
        ("test_vit", 64, 160),
        ("test_vit4", 160, 64),
        ("swin_tiny_patch4_window7_224", 224, 64),
    ],
)
def test_positions_are_resampled_as_pretrained_true_does_it(
    tmp_path: Path, name: str, made: int, wanted: int
) -> None:
    model = donor(name, made)
    ours = build_model(name, 3, wanted, written(model, tmp_path / "w.safetensors")).state_dict()
    theirs = timm.create_model(
        name, pretrained=True, num_classes=3, img_size=wanted,
        pretrained_cfg_overlay={"file": str(tmp_path / "w.safetensors"), "num_classes": 5},
    ).state_dict()  # fmt: skip
    head = [k for k in ours if k.startswith("head")]
    assert ours.keys() == theirs.keys() and head
    assert all(torch.equal(ours[k], theirs[k]) for k in ours if k not in head)


@pytest.mark.slow
def test_torchvisions_vit_is_resampled_by_its_own_rule(tmp_path: Path) -> None:
    model = donor("vit_b_16", 96)
    ours = build_model("vit_b_16", 3, 64, written(model, tmp_path / "w.safetensors")).state_dict()
    given_BLC, own_BLC = model.state_dict()["encoder.pos_embedding"], ours["encoder.pos_embedding"]
    assert own_BLC.shape == (1, 1 + (64 // 16) ** 2, 768)
    assert torch.equal(own_BLC[:, 0], given_BLC[:, 0]), "the class token has no place"
    grid = given_BLC[:, 1:].reshape(1, 6, 6, 768).permute(0, 3, 1, 2)
    scaled = nn.functional.interpolate(grid, size=4, mode="bicubic", align_corners=True)
    assert torch.allclose(own_BLC[:, 1:], scaled.permute(0, 2, 3, 1).reshape(1, 16, 768), atol=1e-5)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "state_dict.net.backbone.", "encoder."]
)
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_wrappers_prefix_is_taken_off(tmp_path: Path, name: str, prefix: str) -> None:
    model = timm.create_model(name, num_classes=5)
    size = 160 if name == "test_vit" else 32
    own = build_model(name, 3, size, written(model, tmp_path / "w.safetensors", prefix)).state_dict()
    assert all(torch.equal(own[k], v) for k, v in model.state_dict().items() if own[k].shape == v.shape)


NAMES = frozenset(timm.create_model("test_resnet", num_classes=3).state_dict())
WORDS = st.sampled_from(["module", "_orig_mod", "model", "net", "layer1", "conv1", "0", "fc", "weight"])


@given(st.lists(WORDS, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_prefix_gives_back_all_names(parts: list[str]) -> None:
    """Also one whose words are names of the model's own layers."""
    state = {
        "".join(f"{part}." for part in parts) + name: torch.tensor(n) for n, name in enumerate(sorted(NAMES))
    }
    found = without_prefixes(state, NAMES)
    assert {name: int(tensor) for name, tensor in found.items()} == {
        n: i for i, n in enumerate(sorted(NAMES))
    }


def test_a_compiled_layer_inside_is_found() -> None:
    state = {name.replace("layer1.", "layer1._orig_mod."): torch.zeros(1) for name in NAMES}
    assert without_prefixes(state, NAMES).keys() == NAMES


def test_what_does_not_fit_is_named_with_its_shapes(tmp_path: Path) -> None:
    model = bare_model("test_resnet", 3, 64, "library")
    state = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    state["conv1.0.weight"] = torch.zeros(7, 3, 3, 3)
    save_file(state, tmp_path / "w.safetensors")
    shape = " x ".join(map(str, model.state_dict()["conv1.0.weight"].shape))
    with pytest.raises(
        DataError, match=rf"conv1.0.weight is 7 x 3 x 3 x 3 instead of {shape}; choose the model"
    ):
        build_model("test_resnet", 3, 128, str(tmp_path / "w.safetensors"))


def test_a_vit_of_another_width_is_refused(tmp_path: Path) -> None:
    path = written(donor("test_vit2", 64), tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="does not fit the model"):
        build_model("vit_tiny_patch16_224", 3, 64, path)


def test_two_heads_may_differ(tmp_path: Path) -> None:
    path = written(timm.create_model("levit_128s", num_classes=5, distilled=True), tmp_path / "w.safetensors")
    assert build_model("levit_128s", 3, 224, path) is not None
