"""Checkpoints of a training: one safetensors file with weights, EMA, optimizer moments and losses, written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
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
    """Write a safetensors file whole or not at all; tensors may share memory, need gradients, or lie on a device.

    Only what shares memory, has gaps or lies on a device is copied.
    """
    with whole_file(path) as partial:
        save_file(_unshared(tensors), partial, metadata=metadata)


def fill(targets: Mapping[str, Tensor], path: Path, prefix: str = "") -> None:
    """Copy the tensors ``prefix + name`` of a safetensors file into ``targets``, in place and one at a time.

    Raises:
        SafetensorError: one of them is not in the file.
    """
    with safe_open(path, framework="pt") as handle, torch.no_grad():
        for name, target in targets.items():
            target.copy_(handle.get_tensor(prefix + name))


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as safetensors takes them: contiguous, on the CPU, no two in one piece of memory."""
    own: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().contiguous().cpu()
        place = value.untyped_storage().data_ptr()
        own[name] = value.clone() if place in places else value
        places.add(place)
    return own


def resume(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
    folder: Path,
    *,
    steps: int,
) -> tuple[list[float], dict[str, Any]]:
    """Load the checkpoint where there is one of at most ``steps`` steps, into the tensors that are there.

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
    fill(model.state_dict(), path, "model/")
    fill(average, path, "ema/")
    _resume_moments(optimizer, path)
    return losses, dict(kept["scaler"])


def _resume_moments(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Load moments in their parameter's layout in memory: a fused step walks through both side by side."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as handle:
        for key in handle.keys():  # noqa: SIM118  (a handle is no dict)
            part, _, place = key.partition("/")
            if part != "optimizer":
                continue
            index, _, name = place.partition("/")
            value, parameter = handle.get_tensor(key), parameters[int(index)]
            same = value.shape == parameter.shape
            state.setdefault(int(index), {})[name] = (
                torch.empty_like(parameter).copy_(value) if same else value.clone()
            )
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
