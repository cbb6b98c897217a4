"""Stems of known architectures lose their strides; others are left alone."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from engine.classifier.stems import adapt_stem


@pytest.mark.parametrize(
    ("name", "feature_side"),
    [("resnet18", 4), ("resnet10t", 4), ("densenet121", 4), ("mobilenetv3_small_100", 2)],
)
def test_last_feature_map_of_32_px(name, feature_side):
    model = timm.create_model(name, num_classes=3).eval()
    assert model.forward_features(torch.zeros(1, 3, 32, 32)).shape[-1] == 1
    assert adapt_stem(model, 32, 3, "small")
    assert model.forward_features(torch.zeros(1, 3, 32, 32)).shape[-1] == feature_side


def test_unstrided_keeps_every_weight():
    model = timm.create_model("resnet18", num_classes=3)
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    assert adapt_stem(model, 32, 3, "unstrided")
    assert {k: v.shape for k, v in model.state_dict().items()} == shapes
    assert model.conv1.stride == (1, 1)


def test_pretrained_vgg_is_left_whole():
    class VGG(nn.Module):
        pre_logits = None

    model = VGG()
    assert adapt_stem(model, 32, 3, "unstrided")
    assert model.pre_logits is None


def test_unknown_architecture():
    assert not adapt_stem(nn.Sequential(nn.Conv2d(3, 4, 3)), 32, 3, "small")


def test_convolution_without_pool_is_no_resnet():
    model = nn.Module()
    model.conv1 = nn.Conv2d(3, 4, 7, stride=2)
    assert not adapt_stem(model, 32, 3, "small")
