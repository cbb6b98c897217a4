"""The smallest config that runs every stage for real: 16 px phantoms, a handful of steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from engine.config import Config, parse_config
from engine.store import RunFolder
from policies import registry

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "format": "phantom",
        "image_size": 16,
        "phantom": {"lesions": 90, "views": 2, "imbalance": 0.0},
        "split": {"train": 0.4, "mine": 0.2, "val": 0.2, "test": 0.2},
    },
    "embedder": {
        "width": 32,
        "layers": 5,
        "patch": 4,
        "text_layers": 1,
        "steps": 6,
        "batch_size": 16,
        "checkpoint_every": 3,
    },
    "vae": {
        "latent_channels": 4,
        "downsample": 2,
        "widths": [8, 16],
        "steps": 8,
        "batch_size": 8,
        "checkpoint_every": 3,
    },
    "denoiser": {"widths": [16, 32], "head_dim": 8, "steps": 8, "batch_size": 8, "checkpoint_every": 3},
    "synthesis": {"steps": 3},
    "classifier": {
        "model": "test_resnet",
        "steps": 10,
        "round_steps": 5,
        "batch_size": 16,
        "checkpoint_every": 4,
    },
    "judge": {
        "model": "test_efficientnet",
        "folds": 2,
        "steps": 6,
        "batch_size": 16,
        "checkpoint_every": 3,
    },
    "loop": {"rounds": 2, "budget": 20, "arms": ["real", "hard"], "neighbours": 3},
    "policy": {"mining": {"name": "margin"}, "acceptance": {"name": "all"}},
    "evaluation": {"bootstrap": 100},
    "backend": {"kind": "local", "threads": 1},
    "tracking": {"kind": "none"},
}


def tiny_tree(output: str, **sections: dict[str, Any] | str | int) -> dict[str, Any]:
    """Return TINY with the given output; sections are merged over it."""
    tree: dict[str, Any] = {**TINY, "output": output}
    for key, value in sections.items():
        tree[key] = {**tree[key], **value} if isinstance(value, dict) and key in tree else value
    return tree


def tiny_config(output: str, **sections: dict[str, Any] | str | int) -> Config:
    """Return the validated tiny config."""
    return parse_config(tiny_tree(output, **sections), check_policy=registry.check)


SOFT_ARMS = ["real", "classical", "distilled", "random", "hard"]
SOFT: dict[str, Any] = {"labels": "soft", "label_temperature": 1.5, "label_share": 0.25, "weight": 0.5}


def labels_config(output: str, name: str, *, rounds: int = 2, **synthesis: Any) -> Config:
    """Return the tiny config with hard cases mined out of fold; ``synthesis`` says how images are labelled."""
    loop = {
        "rounds": rounds,
        "arms": SOFT_ARMS,
        "budget": 10,
        "mine_from": "crossfit",
        "crossfit_folds": 2,
    }
    return tiny_config(output, name=name, loop=loop, synthesis={**TINY["synthesis"], **synthesis})


def copy_stages(run: Path, output: Path, up_to: str | None = None) -> None:
    """Copy the finished stages of ``run`` into another output folder, whose runs then find them.

    ``up_to``: leave out this stage and those that finished after it.
    """
    lines = (run / "stages.jsonl").read_text(encoding="utf-8").splitlines()
    order = [entry["stage"] for entry in map(json.loads, lines)]
    kept = set(order if up_to is None else order[: order.index(up_to)])
    for stage in sorted(set(RunFolder.open(run).roles.values())):
        if stage.rpartition("-")[0] not in kept:
            continue
        shutil.copytree(run.parent / "stages" / stage, output / "stages" / stage)
