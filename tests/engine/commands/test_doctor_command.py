"""Doctor: what it finds on this machine and in a config."""

import io
import socket
from collections import namedtuple
from typing import get_args

import pytest
from rich.console import Console

from engine.commands import doctor_command
from engine.commands.doctor_command import answers, cluster, disk, doctor, tracking, versions, weights
from engine.commands.slowness import slow_parts
from engine.commands.weights_needed import missing_weights
from engine.config.loading import parse_config
from engine.config.synthesis_section import SamplerName


def make(**tree):
    return parse_config(tree)


@pytest.fixture(autouse=True)
def _no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{server.getsockname()[1]}"


def shown(path=None, overrides=()):
    buffer = io.StringIO()
    good = doctor(path, overrides, Console(file=buffer, width=200))
    return good, buffer.getvalue()


def test_without_a_config_it_lists_versions_devices_and_disk():
    import torch

    good, text = shown()
    assert good
    assert f"torch         {torch.__version__.split('+')[0]}" in text
    for what in ("python", "cpu", "disk", "tracking", "config"):
        assert f" {what}" in text


def test_a_missing_package_is_missing_but_an_optional_one_only_noted(monkeypatch):
    monkeypatch.setattr(doctor_command, "PACKAGES", ("onnx-not-there", "torch-not-there"))
    monkeypatch.setattr(doctor_command, "OPTIONAL", ("onnx-not-there",))
    found = {f.what: f.state for f in versions()}
    assert found == {"python": "ok", "onnx-not-there": "note", "torch-not-there": "missing"}


def test_it_fails_where_something_is_missing(tmp_path, closed):
    config = tmp_path / "c.yaml"
    config.write_text(f"output: {tmp_path}\nbackend: {{kind: ray, address: '{closed}'}}\n")
    good, text = shown(config)
    assert not good
    assert "missing backend" in text
    assert "ray up ray_cluster.yaml" in text


def test_disk_says_how_much_is_free_and_whether_it_may_be_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor_command.shutil, "disk_usage", lambda path: usage(9e10, 0, 7.5e10))
    found = disk(tmp_path / "not" / "yet")
    assert (found.state, found.text) == ("ok", f"75.0 GB free for {tmp_path / 'not' / 'yet'}")
    monkeypatch.setattr(doctor_command.shutil, "disk_usage", lambda path: usage(9e10, 0, 1e9))
    assert disk(tmp_path).state == "note"
    monkeypatch.setattr(doctor_command.os, "access", lambda path, mode: False)
    assert disk(tmp_path).state == "missing"


def test_tracking_probes_a_server_and_never_fails(listening, closed, monkeypatch):
    assert tracking(None)[0].text == "mlflow.db beside the output folder"
    assert tracking(make(tracking={"kind": "none"}))[0].text == "off (tracking.kind: none)"
    assert tracking(make(tracking={"uri": "sqlite:///x.db"}))[0].text == "sqlite:///x.db"
    up = tracking(make(tracking={"uri": f"http://{listening}"}))[0]
    assert (up.state, "accepts connections" in up.text) == ("ok", True)
    down = tracking(make(tracking={"uri": f"http://user:secret@{closed}/path"}))[0]
    assert (down.state, "does not answer" in down.text, "secret" in down.text) == ("note", True, False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{listening}")
    assert tracking(None)[0].text.startswith(f"server {listening}")


def test_the_ray_head_is_probed(listening, closed):
    assert cluster(make())[0].text.startswith("local")
    assert cluster(make(backend={"kind": "ray"}))[0].state == "ok"
    assert cluster(make(backend={"kind": "ray", "address": f"ray://{listening}"}))[0].state == "ok"
    assert cluster(make(backend={"kind": "ray", "address": closed}))[0].state == "missing"


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:port"])
def test_an_address_that_is_none_does_not_answer(address):
    assert not answers(address)


def test_weights_that_are_nowhere_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    config = make(
        embedder={"pretrained": "nobody/clip"},
        vae={"pretrained": str(tmp_path)},
        classifier={"pretrained": str(tmp_path / "absent.safetensors")},
        judge={"pretrained": True},
    )
    found = dict(missing_weights(config))
    assert list(found) == ["embedder.pretrained", "classifier.pretrained", "judge.pretrained"]
    assert "nobody/clip is neither a folder" in found["embedder.pretrained"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert {f.state for f in weights(config)} == {"note"}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert {f.state for f in weights(config)} == {"missing"}


def test_weights_at_hand_are_not_named(tmp_path):
    weights_file = tmp_path / "w.safetensors"
    weights_file.touch()
    assert missing_weights(make(classifier={"pretrained": str(weights_file)})) == []
    assert weights(make())[0].text == "nothing to download"


def test_torchvision_weights_are_sought_in_torchs_cache(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    config = make(classifier={"model": "squeezenet1_0", "pretrained": True})
    assert [key for key, _ in missing_weights(config)] == ["classifier.pretrained"]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "squeezenet1_0-b66bff10.pth").touch()
    assert missing_weights(config) == []


@pytest.mark.parametrize(
    ("tree", "device", "key"),
    [
        ({"data": {"image_size": 256}}, "cpu", "data.image_size"),
        ({"backend": {"threads": 10_000}}, "cpu", "backend.threads"),
        ({"backend": {"kind": "ray", "map_workers": 10_000}}, "cpu", "backend"),
        ({"synthesis": {"steps": 100}}, "cpu", "synthesis.steps"),
        ({"denoiser": {"pretrained": "x"}}, "cpu", "denoiser.pretrained"),
        ({"loop": {"mine_from": "crossfit"}}, "cpu", "loop.mine_from"),
        ({"loop": {"arms": ["hard", "random"]}}, "cpu", "loop.arms"),
        ({}, "cuda", "backend.precision"),
    ],
)
def test_what_is_slow_is_said_with_its_key(tree, device, key, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert [found for found, _ in slow_parts(make(**tree), device)] == [key]


@pytest.mark.parametrize("sampler", get_args(SamplerName))
def test_every_sampler_is_judged_at_its_usual_steps(sampler, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert slow_parts(make(synthesis={"sampler": sampler, "steps": 20}), "cpu") == []


def test_the_defaults_are_not_slow(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert slow_parts(make(), "cpu") == []
