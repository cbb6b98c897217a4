"""A convolution over a few pixels: the product gives the convolution's outputs and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from engine.classifier.model import build_model
from engine.classifier.small_maps import SmallMapConv2d, shorten_small_maps


def _gradients(layer: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    output = layer(x)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return output, [p.grad for p in layer.parameters() if p.grad is not None]


@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("arguments", [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    {"kernel_size": (1, 5), "padding": (0, 4), "dilation": (1, 2)},
    {"kernel_size": (3, 2), "padding": (1, 2), "stride": (2, 1)},
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 4, "padding": 2, "stride": 3},
])  # fmt: skip
def test_outputs_and_gradients_are_the_convolutions(side: int, arguments: dict[str, object]) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, **arguments)  # type: ignore[arg-type]
    short = copy.deepcopy(plain)
    shorten_small_maps(short)
    assert type(short) is SmallMapConv2d
    x = torch.randn(5, 4, side, side)
    (expected, expected_grads), (output, grads) = _gradients(plain, x), _gradients(short, x)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(grads, expected_grads)


def test_only_small_maps_become_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1)
    shorten_small_maps(layer)
    sides, plain = list[int](), nn.Conv2d.forward

    def noted(self: nn.Conv2d, x: Tensor) -> Tensor:
        sides.append(x.shape[-1])
        return plain(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", noted)
    for side in (1, 2, 3, 8):
        layer(torch.randn(2, 2, side, side))
    assert sides == [3, 8]


@pytest.mark.parametrize("layer", [
    nn.Conv2d(4, 4, 3, padding="same"),
    nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    nn.Conv2d(4, 4, 3, padding=1, groups=4),
])  # fmt: skip
def test_others_stay_as_they_are(layer: nn.Module) -> None:
    shorten_small_maps(layer)
    assert type(layer) is nn.Conv2d


@pytest.mark.parametrize("size", [32, 64])
def test_a_resnet_keeps_its_names_and_its_answers(size: int) -> None:
    torch.manual_seed(0)
    plain = build_model("resnet18", 7, size, small_stem=False).eval()
    short = copy.deepcopy(plain)
    shorten_small_maps(short)
    assert list(short.state_dict()) == list(plain.state_dict())
    x = torch.randn(4, 3, size, size)
    torch.testing.assert_close(short(x), plain(x), rtol=1e-4, atol=1e-5)
