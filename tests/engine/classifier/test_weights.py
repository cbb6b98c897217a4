"""A classifier is rebuilt from its file alone; the same weights give the same bytes."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.classifier.model import build_model, choose_stem, normalisation
from engine.classifier.weights import (
    UnitInputClassifier,
    describe,
    load_classifier,
    read_meta,
    save_classifier,
)
from engine.errors import DataError

CLASSES = ("bkl", "mel", "nv")


def saved(path, name="test_resnet", size=16):
    model = build_model(name, 3, size)
    save_classifier(model, describe(name, CLASSES, size, False, None), path)
    return model.eval()


def test_round_trip(tmp_path):
    model = saved(tmp_path / "c.safetensors")
    again, meta = load_classifier(tmp_path / "c.safetensors")
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(model(x), again(x))
    assert (meta.classes, meta.image_size, meta.stem, meta.small_stem) == (CLASSES, 16, "small", True)
    assert not again.training


def test_same_weights_same_bytes(tmp_path):
    saved(tmp_path / "a.safetensors")
    saved(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_header_is_one_json_object(tmp_path):
    saved(tmp_path / "c.safetensors")
    length = int.from_bytes((tmp_path / "c.safetensors").read_bytes()[:8], "little")
    header = json.loads((tmp_path / "c.safetensors").read_bytes()[8 : 8 + length])["__metadata__"]
    assert json.loads(header["hardcase"]).keys() == {
        "model", "classes", "image_size", "mean", "std", "stem", "small_stem",
    }  # fmt: skip


def test_own_weights_as_pretrained_keep_stem_and_normalisation(tmp_path):
    path = tmp_path / "c.safetensors"
    donor = saved(path, "resnet18", 32)
    assert choose_stem(224, str(path), None) == "small"
    assert normalisation("resnet18", str(path))[0] == (0.485, 0.456, 0.406)
    model = build_model("resnet18", 5, 32, str(path))
    assert torch.equal(model.conv1.weight, donor.conv1.weight)
    assert model.fc.weight.shape == (5, 512)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.unlink(), "do not exist"),
        (lambda p: p.write_bytes(b"\x00"), "no readable safetensors"),
        (lambda p: save_file(load_file(p), p), "not a classifier written by hardcase"),
        (
            lambda p: save_file(
                load_file(p), p, metadata={"hardcase": json.dumps({**read_json(p), "stem": "odd"})}
            ),
            "stem of its header: Input should be 'library', 'small' or 'unstrided'",
        ),
    ],
)
def test_bad_files(tmp_path, change, message):
    path = tmp_path / "c.safetensors"
    saved(path)
    change(path)
    with pytest.raises(DataError, match=message):
        read_meta(path)


def read_json(path):
    return read_meta(path).to_json()


def test_tensors_of_another_model(tmp_path):
    path = tmp_path / "c.safetensors"
    saved(path)
    header = {**read_json(path), "model": "resnet10t"}
    save_file(load_file(path), path, metadata={"hardcase": json.dumps(header)})
    with pytest.raises(DataError, match="do not fit resnet10t"):
        load_classifier(path)


def test_a_classifier_of_unit_rgb_normalises_inside(tmp_path):
    model = saved(tmp_path / "c.safetensors")
    wrapped = UnitInputClassifier(*load_classifier(tmp_path / "c.safetensors")).eval()
    mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert torch.allclose(wrapped(mean), model(torch.zeros(1, 3, 16, 16)), atol=1e-6)
