"""Checkpoints of a training: safetensors files with weights, EMA, optimizer moments and losses, each named by its checksum.

``checkpoint-<steps>-<checksum>.safetensors``: file and checksum appear together, by one rename. The newest two are kept.
A damaged or foreign one (another plan, another model) is set aside, and the one before is taken, or the start.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.artifacts.digests import checksum
from engine.artifacts.json_text import parse_json
from engine.artifacts.whole_files import whole_file
from engine.training.optimizers import Group, load_moments, saved_moments
from engine.training.plan import TrainPlan
from engine.training.set_aside import set_aside

KEPT = 2
"""How many checkpoints lie in a folder: the newest, and the one before."""
NAME = re.compile(r"checkpoint-(\d{8})-([0-9a-f]{32})\.safetensors")
UNSEALED = "checkpoint.safetensors"
"""A checkpoint of a version that wrote no checksum."""
EMA = "ema/"
MOMENTS = "optimizer/"
"""How the names of averaged weights, and of an optimizer's tensors, begin."""
HOW = frozenset({"checkpoint_every", "accumulate"})
"""Fields of a plan that say how its steps are computed, not which."""


def identity_of(plan: TrainPlan, model: nn.Module) -> str:
    """Return what a checkpoint must agree with: a digest of the plan and of what is learned (names, types, shapes)."""
    tensors = {name: [str(v.dtype), list(v.shape)] for name, v in learned_tensors(model).items()}
    return digest_of({"plan": plan_facts(plan), "tensors": tensors})


def learned_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of ``model.state_dict()`` that a training changes: all but frozen parameters."""
    frozen = {name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def plan_facts(plan: TrainPlan) -> dict[str, Any]:
    """Return the plan's fields that decide the result of a training."""
    return {name: value for name, value in dataclasses.asdict(plan).items() if name not in HOW}


def digest_of(facts: Mapping[str, Any]) -> str:
    """Return a digest of plain JSON, 32 hex digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def state_of(
    optimizer: torch.optim.Optimizer, average: Mapping[str, Tensor], groups: Sequence[Group]
) -> dict[str, Tensor]:
    """Return what a checkpoint holds beside the model: its EMA (empty: none is kept) and the moments, by the names in it."""
    tensors = {f"{EMA}{k}": v for k, v in average.items()}
    return tensors | {f"{MOMENTS}{k}": v for k, v in saved_moments(optimizer, groups).items()}


def save_checkpoint(
    model: nn.Module,
    state: Mapping[str, Tensor],
    losses: list[float],
    folder: Path,
    scaler: Mapping[str, Any],
    *,
    identity: str,
) -> None:
    """Write the model and ``state`` (``state_of``) after ``len(losses)`` steps into ``folder``.

    ``scaler`` is the state of fp16's gradient scaling (empty without it); ``identity`` as ``resume`` will be given it.
    """
    tensors = {f"model/{k}": v for k, v in learned_tensors(model).items()}
    tensors |= state
    folder.mkdir(parents=True, exist_ok=True)
    for half_written in folder.glob("*.partial"):
        half_written.unlink(missing_ok=True)
    facts = json.dumps({"losses": losses, "scaler": dict(scaler), "identity": identity})
    unnamed = folder / ".unnamed.safetensors"
    save_tensors(tensors, unnamed, metadata={"state": facts})
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
    groups: Sequence[Group],
    folder: Path,
    *,
    identity: str,
) -> tuple[list[float], dict[str, Any]]:
    """Load the newest checkpoint that is whole and of this plan and model; any other on the way is set aside.

    The checksum is read in blocks; then the file is opened memory-mapped and copied, one tensor at a time, into the tensors
    that are there: of EMA and moments those that ``average`` and ``optimizer`` keep. ``groups`` are of all that is trained.

    Returns the losses so far and the state of gradient scaling (both empty where there is none).
    """
    if (folder / UNSEALED).exists():
        set_aside(folder / UNSEALED, "has no checksum (written by an earlier version)", _then([]))
    found = checkpoints_in(folder)
    for position, (steps, path) in enumerate(found):
        state, why = _state_of(path, steps, identity)
        if not why:
            fill(learned_tensors(model), path, "model/")
            fill(average, path, EMA)
            _resume_moments(optimizer, groups, path)
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
            state: dict[str, Any] = parse_json(handle.metadata()["state"])
        if state["identity"] != identity or len(state["losses"]) != steps:
            return {}, "was made by another plan or model"
    except (OSError, SafetensorError, ValueError, TypeError, KeyError):
        return {}, damaged
    return state, ""


def _resume_moments(optimizer: torch.optim.Optimizer, groups: Sequence[Group], path: Path) -> None:
    with safe_open(path, framework="pt") as handle:
        keys = [key for key in handle.keys() if key.startswith(MOMENTS)]  # noqa: SIM118  (a handle is no dict)
        saved = ((key.removeprefix(MOMENTS), partial(handle.get_tensor, key)) for key in keys)
        load_moments(optimizer, groups, saved)
