"""Where Ray is: addresses are probed within seconds, and `auto` is the head of this node's cluster."""

from __future__ import annotations

import socket
import time

import pytest

from engine.errors import ConfigError
from engine.execution.ray_address import check_gpus, connect, head_here, probe

pytest.importorskip("ray")


def test_the_probe_asks_the_port_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"
        assert probe(address) == address
    with pytest.raises(ConfigError, match="does not answer"):
        probe(address)


def test_auto_is_what_ray_finds_and_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert head_here() == probe("auto") == address
    start = time.monotonic()
    with pytest.raises(ConfigError, match=rf"backend\.address: auto \(here {address}\) does not answer"):
        connect("auto")
    assert time.monotonic() - start < 60


def test_auto_without_a_head_is_refused_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(address: str, folder: str | None) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray._private.services.get_ray_address_from_environment", nothing)
    assert head_here() is None
    with pytest.raises(ConfigError, match=r"auto, but no Ray head runs on this node; .*ray start --head"):
        connect("auto")


def test_no_more_gpus_are_asked_for_than_there_are() -> None:
    check_gpus(0.5, 1)
    with pytest.raises(ConfigError, match=r"backend\.gpus_per_worker: 2 asked for, the cluster has 1 GPUs"):
        check_gpus(2, 1)
