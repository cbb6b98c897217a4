"""Where torch.compile fails, a training goes on uncompiled with the same numbers, and says so once."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from engine.config import VaeConfig
from engine.diffusion import compiling
from engine.diffusion.pretrained import prepare
from engine.training.plan import TrainEnv


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(compile: bool, branch: bool = False) -> tuple[Tensor, list[Tensor]]:
    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if branch and float(y.sum()) > -1e9:  # the graph breaks here: two graphs
                y = y * 2
            return y

    torch.manual_seed(0)
    model = Net(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    prepare(model, VaeConfig(compile=compile), TrainEnv())
    loss = model(torch.ones(5, 3)).square().sum()
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("branch", [False, True])
def test_a_failing_compiler_is_said_once_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, branch: bool
) -> None:
    def broken(graph: object, examples: object) -> None:
        raise RuntimeError("Failed to find C++ compiler. Please specify via CXX environment variable.\nmore")

    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda _name: broken)
    plain, expected = gradients(compile=False, branch=branch)
    with caplog.at_level(logging.WARNING):
        found, given = gradients(compile=True, branch=branch)
    assert torch.equal(found, plain)
    assert all(torch.equal(a, b) for a, b in zip(given, expected, strict=True))
    said = [record.message for record in caplog.records if record.name == "hardcase.compile"]
    assert len(said) == 1
    assert "vae.compile: true, but torch.compile failed here (Failed to find C++ compiler." in said[0]
    assert "\n" not in said[0]


@pytest.mark.slow
def test_without_a_compiler_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The library's own way to fail, not a faked one."""
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    monkeypatch.setattr(inductor.cpp, "cxx", ("/no/such/g++",))
    plain, _ = gradients(compile=False)
    with caplog.at_level(logging.WARNING):
        found, given = gradients(compile=True)
    assert torch.allclose(found, plain) and len(given) == 4
    assert "torch.compile failed here" in caplog.text


def test_a_system_that_cannot_compile_at_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("torch.compile is not supported on Python 3.99+")

    monkeypatch.setattr(nn.Module, "compile", refuses)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(gradients(compile=True)[0], gradients(compile=False)[0])
    assert "denoiser.compile" not in caplog.text and "not supported on Python 3.99+" in caplog.text


def test_what_compiles_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    compiler = compiling.Compiler("vae.compile", lambda graph, _examples: graph.forward)
    graph = torch.fx.symbolic_trace(nn.Tanh())
    with caplog.at_level(logging.WARNING):
        assert torch.equal(compiler(graph, [])(torch.zeros(2)), torch.zeros(2))
    assert not caplog.records
