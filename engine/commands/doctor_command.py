"""`hardcase doctor`: what this machine has, and with a config what would be missing or slow, and why."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from engine import build
from engine.checked_config import load
from engine.commands.cluster_findings import Finding, visited
from engine.commands.slowness import slow_parts
from engine.commands.weights_needed import missing_weights
from engine.config import Config
from engine.config.places import is_url, url_problem
from engine.data.readers.table import read
from engine.errors import HardcaseError
from engine.execution.node_facts import version_of
from engine.store.files import check_output
from engine.store.local_copy import local_output, scratch_folder
from engine.store.object_store import ObjectStore

PACKAGES = (
    "torch", "torchvision", "timm", "diffusers", "transformers", "ray", "scikit-learn", "faiss-cpu", "mlflow", "numpy",
    "pandas", "pyarrow", "safetensors", "pydantic", "onnx", "onnxscript", "onnxruntime",
)  # fmt: skip
OPTIONAL = ("onnx", "onnxscript", "onnxruntime")
LITTLE_DISK_GB = 5.0
STORE_PATIENCE = 5.0
"""Seconds that an object store has to answer."""
ANSWER_SECONDS = 3.0
WHAT_WIDTH = 14
STYLE = {"ok": "green", "slow": "yellow", "note": "yellow", "missing": "red"}


def doctor(path: Path | None, overrides: Sequence[str], console: Console) -> bool:
    """Print the findings; returns False where something is missing that a run would need.

    Raises:
        ConfigError: the config is bad.
    """
    config = load(path, overrides) if path is not None else None
    findings = [*versions(), *devices(), *places(config), *tracking(config)]
    if config is None:
        findings.append(
            Finding(state="ok", what="ray", text="local; a config with backend.address is probed")
        )
        findings.append(
            Finding(state="note", what="config", text="none given; `hardcase doctor CONFIG` says more")
        )
    else:
        findings += [*cluster(config), device(config), data(config), *models(config), *weights(config)]
        findings += [
            Finding(state="slow", what=what, text=why) for what, why in slow_parts(config, _device(config))
        ]
    width = max(WHAT_WIDTH, *(len(finding.what) + 1 for finding in findings))
    for finding in findings:
        line = Text(f"{finding.state:<8}", style=STYLE[finding.state])
        console.print(line.append(f"{finding.what:<{width}}{finding.text}", style="default"), soft_wrap=True)
    return all(finding.state != "missing" for finding in findings)


def versions() -> list[Finding]:
    """Python and the packages that decide the results."""
    found = [Finding(state="ok", what="python", text=f"{platform.python_version()} on {platform.platform()}")]
    for name in PACKAGES:
        if version := version_of(name):
            found.append(Finding(state="ok", what=name, text=version))
        elif name in OPTIONAL:
            text = "not installed; `export model` needs it: pip install 'hardcase[export]'"
            found.append(Finding(state="note", what=name, text=text))
        else:
            found.append(Finding(state="missing", what=name, text=f"not installed; pip install {name}"))
    return found


def devices() -> list[Finding]:
    """CPU cores, memory, and accelerators torch can use."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    text = f"{os.cpu_count()} cores, {memory.total / 2**30:.1f} GB memory, {memory.available / 2**30:.1f} GB free"
    found = [Finding(state="ok", what="cpu", text=text)]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found.append(
            Finding(
                state="ok", what=f"cuda:{index}", text=f"{facts.name}, {facts.total_memory / 2**30:.0f} GB"
            )
        )
    if torch.backends.mps.is_available():
        found.append(Finding(state="ok", what="mps", text="available"))
    if len(found) == 1:
        found.append(Finding(state="note", what="gpu", text="none; everything runs on the CPU"))
    return found


def places(config: Config | None) -> list[Finding]:
    """Where runs and the stage cache go: the disk, or the object store and the disk of its copies."""
    output = config.output if config is not None else "runs"
    if config is None or not is_url(output) or url_problem(output):
        return [disk(output)]
    return [disk(scratch_folder(config.backend.scratch)), store(output)]


def store(url: str) -> Finding:
    """Whether an object store takes what a run writes."""
    try:
        ObjectStore(url, patience=STORE_PATIENCE).check()
    except HardcaseError as error:
        return Finding(state="missing", what="store", text=str(error))
    return Finding(state="ok", what="store", text=f"{url} takes objects, and conditional writes hold")


def disk(output: str | Path) -> Finding:
    """Free space where runs and the stage cache go."""
    try:
        check_output(str(output))
    except HardcaseError as error:
        return Finding(state="missing", what="disk", text=str(error))
    place = Path(output).resolve()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return Finding(state="missing", what="disk", text=f"{place} is a file; give output=FOLDER")
    free = shutil.disk_usage(place).free / 1e9
    if not os.access(place, os.W_OK):
        return Finding(state="missing", what="disk", text=f"{place} is not writable; give output=FOLDER")
    state = "ok" if free >= LITTLE_DISK_GB else "note"
    return Finding(state=state, what="disk", text=f"{free:.1f} GB free for {output}")


def tracking(config: Config | None) -> list[Finding]:
    """Where MLflow logs to, and whether a server answers."""
    if config is not None and config.tracking.kind == "none":
        return [Finding(state="ok", what="tracking", text="off (tracking.kind: none)")]
    uri = (config.tracking.uri if config else None) or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return [Finding(state="ok", what="tracking", text="mlflow.db beside the output folder")]
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return [Finding(state="ok", what="tracking", text=uri)]
    shown = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if answers(shown):
        return [Finding(state="ok", what="tracking", text=f"server {shown} accepts connections")]
    text = f"server {shown} does not answer; a run goes on and sends what it logged later"
    return [Finding(state="note", what="tracking", text=text)]


def cluster(config: Config) -> list[Finding]:
    """Whether the Ray head of the config answers; without a head, whether this machine has the GPUs it asks for."""
    backend = config.backend
    if backend.kind != "ray":
        found = [Finding(state="ok", what="backend", text="local, in one process; Ray is not used")]
        if backend.gpus_per_worker > 0:
            text = f"backend.gpus_per_worker: {backend.gpus_per_worker:g} is for backend.kind=ray; no effect here"
            found.append(Finding(state="note", what="backend", text=text))
        return found
    from engine.execution.ray_address import check_gpus, probe

    try:
        if backend.address is None:
            import torch

            check_gpus(backend.gpus_per_worker, torch.cuda.device_count())
            return [Finding(state="ok", what="backend", text="Ray, started on this machine")]
        found_at = probe(backend.address)
    except HardcaseError as error:
        return [Finding(state="missing", what="backend", text=str(error))]
    head = Finding(state="ok", what="backend", text=f"Ray head {found_at} accepts connections")
    return [head, *visited(backend.address, str(local_output(config)))]


def device(config: Config) -> Finding:
    """Where tensors would live."""
    try:
        text = f"{build.choose_device(config.backend)} (backend.device: {config.backend.device})"
        return Finding(state="ok", what="device", text=text)
    except HardcaseError as error:
        return Finding(state="missing", what="device", text=str(error))


def data(config: Config) -> Finding:
    """What the reader of ``data.format`` finds, image files not opened."""
    if config.data.format == "phantom":
        return Finding(state="ok", what="data", text="phantom, drawn by the run")
    try:
        table = read(config.data, config.seed).table
    except HardcaseError as error:
        return Finding(state="missing", what="data", text=str(error))
    text = f"{len(table)} images of {len(table.classes)} classes in {config.data.root}"
    return Finding(state="ok", what="data", text=text)


def models(config: Config) -> list[Finding]:
    """Whether the models exist and the weights given by path can be opened."""
    problems = build.model_problems(config)
    if problems:
        return [Finding(state="missing", what="models", text=text) for text in problems]
    text = f"classifier {config.classifier.model}, judge {config.judge.model}"
    return [Finding(state="ok", what="models", text=text)]


def weights(config: Config) -> list[Finding]:
    """Pre-trained weights the config names by a hub id that are in no cache."""
    missing = missing_weights(config)
    if not missing:
        return [Finding(state="ok", what="weights", text="nothing to download")]
    state = "missing" if os.environ.get("HF_HUB_OFFLINE") == "1" else "note"
    return [Finding(state=state, what="weights", text=f"{key}: {why}") for key, why in missing]


def answers(address: str) -> bool:
    """Whether something accepts a connection at host:port within a few seconds."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _device(config: Config) -> str:
    try:
        return build.choose_device(config.backend)
    except HardcaseError:
        return "cpu"
