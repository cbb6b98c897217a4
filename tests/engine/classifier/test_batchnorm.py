"""GlobalBatchNorm is BatchNorm where there is one worker, under the same names."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from engine.classifier.batchnorm import GlobalBatchNorm, globalize_batch_norm


@pytest.fixture
def one_worker(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def pair(make):
    reference, twin = make(), make()
    twin.load_state_dict(reference.state_dict())
    return reference, globalize_batch_norm(twin)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.BatchNorm2d(4), (6, 4, 5, 5)),
        (lambda: BatchNormAct2d(4), (6, 4, 5, 5)),
        (lambda: nn.BatchNorm1d(4), (6, 4)),
        (lambda: nn.BatchNorm2d(4, affine=False), (6, 4, 5, 5)),
        (lambda: nn.BatchNorm2d(4, track_running_stats=False), (6, 4, 5, 5)),
    ],
)
def test_equals_batch_norm(one_worker, make, shape):
    reference, subject = pair(make)
    assert isinstance(subject, GlobalBatchNorm)
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    inputs = [(weight.roll(1, 0) * 2 + 1).requires_grad_() for _ in range(2)]
    outputs = [layer(x) for layer, x in zip((reference, subject), inputs, strict=True)]
    for output in outputs:
        (output * weight).sum().backward()
    assert torch.allclose(*outputs, atol=1e-5)
    assert torch.allclose(inputs[0].grad, inputs[1].grad, atol=1e-4)
    assert reference.state_dict().keys() == subject.state_dict().keys()
    for name, value in reference.state_dict().items():
        assert torch.allclose(value, subject.state_dict()[name], atol=1e-5), name
    assert torch.allclose(reference.eval()(inputs[0]), subject.eval()(inputs[0]), atol=1e-5)


def test_nested_layers_are_replaced_in_place():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, momentum=None)))
    names = list(model.state_dict())
    assert globalize_batch_norm(model) is model
    assert isinstance(model[1][0], GlobalBatchNorm)
    assert list(model.state_dict()) == names
