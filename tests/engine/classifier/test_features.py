"""Penultimate features of any classifier, whatever the chunk; Inception from a local file alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from engine.classifier.features import FeatureWorker, load_inception, watch_head
from engine.classifier.inputs import normalise, to_unit
from engine.classifier.model import build_model
from engine.classifier.weights import describe, load_classifier, save_classifier
from engine.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)


@pytest.fixture
def image_file(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    return tmp_path / "images.npy"


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050"])
def test_features_times_head_are_the_logits(tmp_path, image_file, name):
    path = tmp_path / "c.safetensors"
    save_classifier(build_model(name, 3, 16), describe(name, ("a", "b", "c"), 16, False, None), path)
    features = FeatureWorker(weights=path, images=image_file).load()(np.arange(5))
    model, meta = load_classifier(path)
    head = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.inference_mode():
        logits = model(normalise(to_unit(IMAGES, "cpu"), meta.mean, meta.std))
        assert torch.allclose(head(torch.from_numpy(features)), logits, atol=1e-4)


def test_a_row_does_not_depend_on_the_others(tmp_path, image_file):
    path = tmp_path / "c.safetensors"
    save_classifier(
        build_model("test_resnet", 3, 16), describe("test_resnet", ("a", "b", "c"), 16, False, None), path
    )
    features = FeatureWorker(weights=path, images=image_file).load()
    assert np.array_equal(features(np.array([3]))[0], features(np.arange(5))[3])


@pytest.mark.slow
def test_inception_comes_from_a_file(tmp_path, image_file):
    network = torchvision.models.inception_v3(weights=None, aux_logits=True, init_weights=False)
    save_file(network.state_dict(), tmp_path / "inception_v3.safetensors")
    worker = FeatureWorker(weights=tmp_path / "inception_v3.safetensors", images=image_file, inception=True)
    assert worker.load()(np.arange(2)).shape == (2, 2048)


def test_wrong_inception_files_say_where_to_get_the_right_one(tmp_path):
    with pytest.raises(DataError, match=r"evaluation\.inception: .*does not exist; save it once"):
        load_inception(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="holds no inception_v3 weights"):
        load_inception(tmp_path / "other.safetensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="holds pickled weights"):
        load_inception(tmp_path / "other.pth")


def test_the_watched_list_holds_the_last_pass_only():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    seen = watch_head(network)
    for value in (1.0, 2.0):
        network(torch.full((1, 2, 2), value))
    assert len(seen) == 1
    assert seen[0].tolist() == [[2.0] * 4]
