"""Checkpoints of a training: safetensors files with weights, EMA, optimizer moments and losses, each named by its checksum.

``checkpoint-<steps>-<checksum>.safetensors``: file and checksum appear together, by one rename. The newest two are kept.
A damaged or foreign one (another plan, another model) is set aside, and the one before is taken, or the start.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.artifacts.digests import checksum
from engine.artifacts.whole_files import whole_file
from engine.training.plan import TrainPlan
from engine.training.set_aside import set_aside

KEPT = 2
"""How many checkpoints lie in a folder: the newest, and the one before."""
NAME = re.compile(r"checkpoint-(\d{8})-([0-9a-f]{32})\.safetensors")
UNSEALED = "checkpoint.safetensors"
"""A checkpoint of a version that wrote no checksum."""
HOW = frozenset({"checkpoint_every", "accumulate"})
"""Fields of a plan that say how its steps are computed, not which."""


def identity_of(plan: TrainPlan, model: nn.Module) -> str:
    """Return what a checkpoint must agree with: a digest of the plan and of the model's tensors (names, types, shapes)."""
    tensors = {name: [str(v.dtype), list(v.shape)] for name, v in model.state_dict().items()}
    return digest_of({"plan": plan_facts(plan), "tensors": tensors})


def plan_facts(plan: TrainPlan) -> dict[str, Any]:
    """Return the plan's fields that decide the result of a training."""
    return {name: value for name, value in dataclasses.asdict(plan).items() if name not in HOW}


def digest_of(facts: Mapping[str, Any]) -> str:
    """Return a digest of plain JSON, 32 hex digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def save_checkpoint(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
    losses: list[float],
    folder: Path,
    scaler: Mapping[str, Any],
    *,
    identity: str,
) -> None:
    """Write the state after ``len(losses)`` steps into ``folder``; ``average`` is the EMA (empty: none kept).

    ``scaler`` is the state of fp16's gradient scaling (empty without it); ``identity`` as ``resume`` will be given it.
    """
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in average.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{k}": torch.as_tensor(v) for k, v in moments.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for half_written in folder.glob("*.partial"):
        half_written.unlink(missing_ok=True)
    state = json.dumps({"losses": losses, "scaler": dict(scaler), "identity": identity})
    unnamed = folder / ".unnamed.safetensors"
    save_tensors(tensors, unnamed, metadata={"state": state})
    unnamed.replace(folder / f"checkpoint-{len(losses):08d}-{checksum(unnamed)[:32]}.safetensors")
    for _, older in checkpoints_in(folder)[KEPT:]:
        older.unlink(missing_ok=True)


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """Return the checkpoints of a folder as (steps done, file), the newest first."""
    found = [(NAME.fullmatch(path.name), path) for path in folder.glob("checkpoint-*.safetensors")]
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def set_aside_from(folder: Path, step: int, why: str) -> None:
    """Set the checkpoints of ``step`` steps or more aside, so that a training goes on from before."""
    for steps, path in checkpoints_in(folder):
        if steps >= step:
            set_aside(path, why, "training goes on from before")


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all; tensors may share memory, need gradients, or lie on a device."""
    own = {k: v.detach().contiguous().cpu().clone() for k, v in tensors.items()}
    with whole_file(path) as partial:
        save_file(own, partial, metadata=metadata)


def resume(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
    folder: Path,
    *,
    identity: str,
    device: str,
) -> tuple[list[float], dict[str, Any]]:
    """Load the newest checkpoint that is whole and of this plan and model; any other on the way is set aside.

    The checksum is read in blocks, then the file is opened memory-mapped.

    Returns the losses so far and the state of gradient scaling (both empty where there is none).
    """
    if (folder / UNSEALED).exists():
        set_aside(folder / UNSEALED, "has no checksum (written by an earlier version)", _then([]))
    found = checkpoints_in(folder)
    for position, (steps, path) in enumerate(found):
        state, why = _state_of(path, steps, identity)
        if not why:
            _load(path, model, optimizer, average, device)
            return state["losses"], state["scaler"]
        set_aside(path, why, _then(found[position + 1 :]))
    return [], {}


def _then(older: list[tuple[int, Path]]) -> str:
    return f"the checkpoint of step {older[0][0]} is tried" if older else "training begins at the start"


def _state_of(path: Path, steps: int, identity: str) -> tuple[dict[str, Any], str]:
    """Return {losses, scaler, identity} of a checkpoint, and why it cannot be used ("": it can)."""
    damaged = "is damaged (its checksum differs)"
    name = NAME.fullmatch(path.name)
    try:
        if name is None or checksum(path)[:32] != name[2]:
            return {}, damaged
        with safe_open(path, framework="pt") as handle:
            state: dict[str, Any] = json.loads(handle.metadata()["state"])
        if state["identity"] != identity or len(state["losses"]) != steps:
            return {}, "was made by another plan or model"
    except (OSError, SafetensorError, ValueError, TypeError, KeyError):
        return {}, damaged
    return state, ""


def _load(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], device: str
) -> None:
    tensors = load_file(path, device=device)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "optimizer": {}}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = value
    model.load_state_dict(parts["model"])
    average.update(parts["ema"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in parts["optimizer"].items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value.cpu() if name == "step" else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    _lay_out_moments(optimizer)


def _lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give moments their parameter's layout in memory: a fused step walks through both side by side."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)
