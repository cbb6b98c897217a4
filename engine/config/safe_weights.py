"""Refuses model folders that could run code: configs that name Python files (auto_map), and pickled weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

SAFE_MODEL: Final = {"use_safetensors": True, "trust_remote_code": False}
"""For ``from_pretrained`` of a transformers model; diffusers models know the first alone."""
SAFE: Final = ".safetensors"
PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""What torch.load opens: a pickle, which can run code when it is read."""
CODE_KEYS: Final = ("auto_map", "custom_pipelines")


def unsafe_reason(folder: Path) -> str:
    """Return why a model folder is refused, with the remedy; "" where its weights are safetensors and it names no code."""
    for path in sorted(folder.glob("*.json")):
        named = next((key for key in CODE_KEYS if key in _object(path)), None)
        if named is not None:
            return (
                f"asks to run Python code of its own ({named} in {path.name}), which hardcase never does; give a folder "
                "without it"
            )
    files = sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
    pickled = next((path for path in files if path.suffix in PICKLED), None)
    if pickled is not None and not any(path.suffix == SAFE for path in files):
        return pickled_reason(pickled)
    return ""


def pickled_reason(path: Path) -> str:
    """Return why a file of pickled weights is refused, with the remedy."""
    return (
        f"holds pickled weights ({path.name}), which can run code when they are opened; convert them once to safetensors "
        "where you trust them (safetensors.torch.save_file of the tensors)"
    )


def _object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
