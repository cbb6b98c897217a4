"""Checkpoints of a training: one safetensors file with weights, EMA, optimizer moments and losses, written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.artifacts.whole_files import whole_file

NAME = "checkpoint.safetensors"


def save_checkpoint(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
    losses: list[float],
    folder: Path,
    scaler: Mapping[str, Any],
) -> None:
    """Write the state after ``len(losses)`` steps into ``folder``; ``average`` is the EMA (empty: none kept).

    ``scaler`` is the state of fp16's gradient scaling (empty without it).
    """
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in average.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{k}": torch.as_tensor(v) for k, v in moments.items()}
    folder.mkdir(parents=True, exist_ok=True)
    state = json.dumps({"losses": losses, "scaler": dict(scaler)})
    save_tensors(tensors, folder / NAME, metadata={"state": state})


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
    steps: int,
    device: str,
) -> tuple[list[float], dict[str, Any]]:
    """Load the checkpoint where there is one of at most ``steps`` steps.

    Returns the losses so far and the state of gradient scaling (both empty where there is none).
    """
    path = folder / NAME
    if not path.exists():
        return [], {}
    with safe_open(path, framework="pt") as handle:
        kept = json.loads(handle.metadata()["state"])
    losses: list[float] = kept["losses"]
    if len(losses) > steps:
        return [], {}
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
    return losses, dict(kept["scaler"])


def _lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give moments their parameter's layout in memory: a fused step walks through both side by side."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)
