"""Tiny real runs that together reach every stage, and a digest of what each stage read and wrote in them."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine import build
from engine.artifacts.stage_manifest import FILE as MANIFEST
from engine.config import Config
from engine.store import RunFolder
from engine.store.cache import UNKEYED
from engine.store.files import read_json
from tests.integration.tiny import TINY, tiny_config

FILE = Path(__file__).with_name("outputs.json")
REPORT = Path(__file__).with_name("report.json")
PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "pandas", "pyarrow", "pillow", "matplotlib", "scikit-learn", "faiss-cpu",
    "timm", "diffusers", "transformers", "safetensors",
)  # fmt: skip
"""What computes or writes a stage's files: another version may give other bytes."""
RUN_ONLY = frozenset({"seconds", "foundation_seconds", "device", "digests", "config_digest"})
"""Keys of report.json that say when, where or under which keys it was computed; test_cache_keys.py pins the keys."""

SHORT = {"steps": 3, "checkpoint_every": 100}
SECTIONS: dict[str, Any] = {
    "embedder": {"width": 16, "steps": 3, "batch_size": 8, "checkpoint_every": 100},
    "vae": {"steps": 3, "checkpoint_every": 100},
    "denoiser": {"widths": [8, 16], **SHORT, "validations": 1},
    "gan": {"width": 8, "latent": 8, "batch_size": 8, **SHORT},
    "judge": {"model": "mobilenetv3_small_050", **SHORT},
    "backend": {"device": "cpu"},
}
CLASSIFIER = {"model": "test_resnet"}
"""Models are named here, so that the pinned bytes do not depend on what other tests train."""
DATA: dict[str, Any] = {
    "phantom": {"lesions": 60, "views": 2, "imbalance": 0.0},
    "split": {"train": 0.5, "mine": 0.0, "val": 0.25, "test": 0.25},
}
RUNS: Mapping[str, Mapping[str, Any]] = {
    "latents": {
        "data": DATA,
        "synthesis": {
            "steps": 3,
            "states": 2,
            "adversarial_scale": 2.0,
            "classifier_scale": 1.0,
            "gradient_interval": [0.0, 1.0],
        },
        "classifier": {
            **CLASSIFIER,
            "steps": 3,
            "round_init": "scratch",
            "mix": {"share": 0.5, "finish_on_real": 1},
        },
        "loop": {
            "rounds": 1,
            "budget": 10,
            "max_synthetic": 8,
            "arms": [
                "plain",
                "real",
                "classical",
                "distilled",
                "mined",
                "retrieved",
                "random",
                "unguided",
                "dcgan",
                "hard",
                "synthetic",
            ],
            "mine_from": "crossfit",
            "crossfit_folds": 2,
        },
        "policy": {"mining": {"name": "medium_hard"}, "budget": {"name": "inverse_sensitivity"}},
    },
    "student": {
        "data": DATA,
        "denoiser": {"widths": [8, 16], **SHORT, "validations": 1, "distill": {"steps": 2, "train_steps": 3}},
        "classifier": {**CLASSIFIER, "steps": 3, "round_init": "scratch"},
        "loop": {"rounds": 1, "budget": 6, "arms": ["hard"], "mine_from": "crossfit", "crossfit_folds": 2},
    },
    "pixels": {
        "data": {
            "phantom": {"lesions": 60, "views": 1, "imbalance": 0.3},
            "split": {**TINY["data"]["split"], "hide_labels": 0.5},
        },
        "vae": {"kind": "identity", "downsample": 1, "checkpoint_every": 100},
        "denoiser": {"widths": [8, 16], **SHORT, "validations": 0},
        "synthesis": {"steps": 3, "sampler": "ddpm"},
        "classifier": {**CLASSIFIER, "steps": 4, "round_steps": 2},
        "loop": {
            "rounds": 2,
            "budget": 6,
            "arms": ["hard", "all_real", "queried", "queried_random", "hard_and_queried"],
            "labels_per_round": 3,
            "labels_from": "oracle",
        },
        "policy": {"mining": {"name": "committee"}, "acceptance": {"name": "default"}},
        "evaluation": {"likelihood": 4, "features": "judge"},
    },
}
"""Sections over tests/integration/tiny.py and ``SECTIONS``, by the name of the run."""


DIGITS = 9
"""Significant digits of a number in JSON that are held; on two kinds of one vendor's processors the 15th differed."""


def machine() -> dict[str, str]:
    """Return what another machine may differ in so that the same code writes other bytes."""
    mark = {name: version(name) for name in PACKAGES}
    cpu = torch.backends.cpu.get_cpu_capability()
    return {**mark, "cpu": cpu, "cpu_vendor": _cpu_vendor(), "machine": platform.machine()}


def play(name: str, output: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Play run ``name`` in this process; returns {role: record} and report.json without what ``RUN_ONLY`` names.

    A record is {stage, version, inputs, output}: ``inputs`` digests the params and the *outputs* of the input stages,
    ``output`` the checksums of the stage's files, of JSON its values.
    """
    folder, report = build.run(_config(name, output))
    return records(folder), kept(report)


def records(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Return {role: {stage, version, inputs, output}} of a finished run whose stages all have a role."""
    manifests = {value: read_json(folder.cache_root / value / MANIFEST) for value in folder.roles.values()}
    outputs = {
        manifest["key"]: _digest(_files(folder.cache_root / value, manifest["files"]))
        for value, manifest in manifests.items()
    }
    return {role: _record(manifests[value], outputs) for role, value in sorted(folder.roles.items())}


def _files(folder: Path, checksums: Mapping[str, str]) -> dict[str, Any]:
    """Return the checksums of a stage's files; of JSON its values, rounded: matrix libraries differ in the last digits."""
    return {
        name: kept(read_json(folder / name)) if name.endswith(".json") else checksum
        for name, checksum in checksums.items()
    }


def _record(manifest: Mapping[str, Any], outputs: Mapping[str, str]) -> dict[str, Any]:
    read = {k: manifest[k] for k in ("seed", "threads", "device", "precision")}
    params = {k: _without_places(k, v) for k, v in manifest["params"].items()}
    inputs = {role: outputs[key] for role, key in manifest["inputs"].items()}
    return {
        "stage": manifest["stage"],
        "version": manifest["version"],
        "inputs": _digest({**read, "params": params, "inputs": inputs}),
        "output": outputs[manifest["key"]],
    }


def _without_places(section: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {k: v for k, v in value.items() if (section, k) not in UNKEYED}


def _cpu_vendor() -> str:
    """Return the CPU's vendor where Linux tells it: matrix libraries choose their code by it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "unknown")


def _config(name: str, output: Path) -> Config:
    return tiny_config(str(output), name=name, **{**SECTIONS, **RUNS[name]})


def kept(value: Any) -> Any:
    """Return what is held of a report or of a stage's JSON: without RUN_ONLY, numbers to DIGITS."""
    if isinstance(value, Mapping):
        return {k: kept(v) for k, v in value.items() if k not in RUN_ONLY}
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return [kept(v) for v in value] if isinstance(value, list) else value


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
