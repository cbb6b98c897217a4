"""Refuses model folders that could run code: configs that name Python files (auto_map), and pickled weights."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from engine.artifacts.json_text import parse_json

SAFE_MODEL: Final = {"use_safetensors": True, "trust_remote_code": False}
"""For ``from_pretrained`` of a transformers model; diffusers models know the first alone."""
SAFE: Final = ".safetensors"
PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""What torch.load opens: a pickle, which can run code when it is read."""
CODE_KEYS: Final = ("auto_map", "custom_pipelines")
INDEX: Final = ".safetensors.index"
"""In the name of an index of weights in several files."""
SHARDS: Final = "weight_map"
"""Where an index names the files."""
ELSEWHERE: Final = "transformers_weights"
"""The key of a config that names another file of weights, which transformers lets be a pickle."""
ADAPTER: Final = "adapter_config.json"
"""What makes transformers load another model, which this file names, and then this folder's weights on top."""


def unsafe_reason(folder: Path) -> str:
    """Return why a model folder is refused, with the remedy; "" where its weights are safetensors and it names no code."""
    if (folder / ADAPTER).is_file():
        return (
            f"is an adapter ({ADAPTER}), which names another model to load; merge it into that model and save the whole "
            "(peft: merge_and_unload, save_pretrained)"
        )
    for path in sorted(folder.glob("*.json")):
        facts = _object(path)
        named = next((key for key in CODE_KEYS if key in facts), None)
        if named is not None:
            return (
                f"asks to run Python code of its own ({named} in {path.name}), which hardcase never does; give a folder "
                "without it"
            )
        if ELSEWHERE in facts:
            return (
                f"names a file of weights of its own ({ELSEWHERE} in {path.name}); remove this key and call the file "
                "model.safetensors"
            )
        odd = _odd_shard(facts.get(SHARDS)) if INDEX in path.name else ""
        if odd:
            return (
                f"names {odd} as a file of its weights ({path.name}), and only safetensors files in the folder itself are "
                "opened; save the model again as safetensors"
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


def _odd_shard(shards: object) -> str:
    """Return the first file of an index that is no safetensors file of the folder itself, "" where there is none."""
    names = shards.values() if isinstance(shards, dict) else []
    plain = (isinstance(name, str) and Path(name).name == name and name.endswith(SAFE) for name in names)
    return next((repr(name)[:100] for name, good in zip(names, plain, strict=True) if not good), "")


def _object(path: Path) -> dict[str, object]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
