"""Doctor: what it finds on this machine and in a config."""

import io
import socket
from collections import namedtuple
from typing import get_args

import pytest
from rich.console import Console

from engine.commands import doctor_command
from engine.commands.doctor_command import (
    answers,
    cluster,
    disk,
    doctor,
    tracking,
    versions,
    weights,
)
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


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data.root=/nonexistent", "data data.root: /nonexistent does not exist; give"),
        ("backend.device=mps", "device backend.device: mps is not available here; use"),
        ("output=gs://x/y", "disk output: gs://x/y is a URL, and of these only s3://"),
        ("classifier.model=resnet999", "models classifier.model: 'resnet999' is none of"),
        ("judge.model=regnetx_0", "models judge.model: 'regnetx_0' is none of"),
        ("embedder.pretrained=/nonexistent", "models embedder.pretrained: /nonexistent does not"),
        ("vae.pretrained=./nonexistent", "models vae.pretrained: ./nonexistent does not"),
        ("denoiser.pretrained=~/nonexistent", "models denoiser.pretrained: ~/nonexistent does"),
        ("classifier.pretrained=none.pt", "models classifier.pretrained: classifier weights none"),
        ("backend.kind=ray", "backend backend.gpus_per_worker: 99 asked for, the cluster has"),
    ],
)
def test_what_a_run_would_refuse_is_missing(override, line, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    for name in ("a", "b"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.png").touch()
    config = tmp_path / "c.yaml"
    config.write_text(
        f"output: {tmp_path}\nbackend: {{gpus_per_worker: 99}}\ndata: {{format: folder, root: {tmp_path / 'data'}}}\n"
    )
    good, text = shown(config)
    assert good and "2 images of 2 classes" in text and "99 is for backend.kind=ray; no effect" in text
    good, text = shown(config, [override])
    assert not good
    assert f"missing {line}" in " ".join(text.split())


def test_a_long_key_keeps_a_blank_before_its_text(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(f"output: {tmp_path}\nsynthesis: {{steps: 150, sampler: ddim}}\n")
    assert "slow    synthesis.steps 150 steps of ddim" in shown(config)[1]


def test_disk_says_how_much_is_free_and_whether_it_may_be_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor_command.shutil, "disk_usage", lambda path: usage(9e10, 0, 7.5e10))
    found = disk(tmp_path / "not" / "yet")
    assert (found.state, found.text) == ("ok", f"75.0 GB free for {tmp_path / 'not' / 'yet'}")
    monkeypatch.setattr(doctor_command.shutil, "disk_usage", lambda path: usage(9e10, 0, 1e9))
    assert disk(tmp_path).state == "note"
    monkeypatch.setattr(doctor_command.os, "access", lambda path, mode: False)
    assert disk(tmp_path).state == "missing"
    monkeypatch.undo()
    (tmp_path / "file").touch()
    assert disk(tmp_path / "file" / "runs").text == f"{tmp_path / 'file'} is a file; give output=FOLDER"


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


def no_ray(*_args, **_options):
    raise ConnectionError("no Ray here")


@pytest.mark.parametrize(
    ("head", "state", "said"),
    [
        ("listening", "ok", "Ray head {} accepts connections"),
        ("closed", "missing", "backend.address: auto (here {}) does not answer"),
        (None, "missing", "backend.address: auto, but no Ray head runs on this node; start one (`ray start --head`)"),
    ],
)  # fmt: skip
def test_auto_is_the_head_of_this_node(head, state, said, request, monkeypatch):
    address = None if head is None else request.getfixturevalue(head)
    monkeypatch.setattr("engine.execution.ray_address.head_here", lambda: address)
    monkeypatch.setattr(
        "ray.init", no_ray
    )  # or it waits for the head of a cluster that this machine remembers
    found = cluster(make(backend={"kind": "ray", "address": "auto"}))[0]
    assert (found.state, found.text.startswith(said.format(address))) == (state, True)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:port"])
def test_an_address_that_is_none_does_not_answer(address):
    assert not answers(address)


def test_weights_that_are_nowhere_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    config = make(
        embedder={"pretrained": "nobody/clip"},
        vae={"pretrained": str(tmp_path)},
        judge={"pretrained": True},
    )
    found = dict(missing_weights(config))
    assert list(found) == ["embedder.pretrained", "judge.pretrained"]
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
        ({"loop": {"arms": ["hard", "unguided"]}}, "cpu", "loop.arms"),
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
