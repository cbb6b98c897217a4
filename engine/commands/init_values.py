"""The keys that `hardcase init` writes, and what each costs: sizes follow the data and the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.commands.found import Layout
from engine.commands.init_classes import Classes
from engine.config import Config
from engine.data.decoding import size_of
from engine.data.images import available_cores

SIZES: Final = (128, 64, 32)
FEW_IMAGES: Final = 1000
"""Below this, parts are trained for fewer steps."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What sizes depend on."""

    cores: int
    gpu: bool

    @staticmethod
    def here() -> Machine:
        """Return this machine."""
        import torch

        return Machine(cores=available_cores(), gpu=torch.cuda.is_available())


def values_of(layout: Layout, classes: Classes, machine: Machine) -> dict[str, Any]:
    """Return the keys to write, in order.

    Labels are soft and no gate asks the judge: of what the targeted study tried on val that was best
    (``experiments/results/targeted/development.md``). The schema's defaults stay, for configs that name neither.
    """
    table, images = layout.source.table, len(layout.source.table)
    masks = (
        "file"
        if (table.mask_path != "").any()
        else "none"
        if layout.data["format"] == "torchvision"
        else "otsu"
    )
    values: dict[str, Any] = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", Path(layout.data["root"]).stem).strip("-._") or "run",
        "seed": 0,
        "output": "runs",
    }
    values |= {f"data.{key}": value for key, value in layout.data.items() if key != "columns"}
    values |= {f"data.columns.{key}": value for key, value in layout.data.get("columns", {}).items()}
    values |= {
        "data.image_size": image_size(layout, machine),
        "data.limit": None,
        "data.on_bad_image": "fail",
    }
    values |= {"data.mask": masks, "data.malignant": list(classes.malignant)}
    if classes.unlabelled:
        values["data.unlabelled"] = "keep"
    if classes.map_labels:
        values["data.map_labels"] = classes.map_labels
    values |= {f"data.split.{part}": share for part, share in
               (("train", 0.60), ("mine", 0.15), ("val", 0.10), ("test", 0.15))}  # fmt: skip
    if (table.split != "").any():
        values["data.split.official"] = False
    values |= _work(images)
    values |= {
        "policy.mining": {"name": "misclassified"},
        "policy.acceptance": {"name": "not_memorized"},
        "evaluation.melanoma": classes.melanoma,
        "evaluation.bootstrap": Config().evaluation.bootstrap,
        "backend.kind": "local",
        "backend.threads": max(1, min(4, machine.cores)),
        "backend.precision": "bf16" if machine.gpu else "float32",
        "tracking.kind": "mlflow",
    }
    return values


def _work(images: int) -> dict[str, Any]:
    """Return the keys that decide how long a run takes."""
    few, default = images < FEW_IMAGES, Config()
    return {
        "embedder.steps": default.embedder.steps,
        "embedder.batch_size": default.embedder.batch_size,
        "vae.steps": default.vae.steps,
        "vae.batch_size": default.vae.batch_size,
        "denoiser.steps": default.denoiser.steps // 2 if few else default.denoiser.steps,
        "denoiser.batch_size": default.denoiser.batch_size,
        "synthesis.steps": default.synthesis.steps,
        "synthesis.labels": "soft",
        "classifier.model": default.classifier.model,
        "classifier.steps": 500 if few else default.classifier.steps,
        "classifier.round_steps": 200 if few else default.classifier.round_steps,
        "classifier.batch_size": default.classifier.batch_size,
        "judge.steps": 200 if few else default.judge.steps,
        "judge.folds": default.judge.folds,
        "judge.batch_size": default.judge.batch_size,
        "loop.rounds": 2,
        "loop.budget": max(20, min(500, images // 20)),
        "loop.candidates": default.loop.candidates,
        "loop.arms": ["real", "random", "hard"],
    }


def costs_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what a key makes a run do, to stand beside it."""
    rounds, arms, budget = values["loop.rounds"], len(values["loop.arms"]), values["loop.budget"]
    fits, folds = rounds * arms, values["judge.folds"]
    made = round(budget * values["loop.candidates"]) * rounds * (arms - 1)
    return {
        "embedder.steps": "once",
        "vae.steps": "once",
        "denoiser.steps": "once",
        "synthesis.steps": f"x {made} images to generate = {values['synthesis.steps'] * made} steps of sampling",
        "classifier.steps": "once",
        "classifier.round_steps": f"x {rounds} rounds x {arms} arms = {values['classifier.round_steps'] * fits} steps",
        "judge.steps": f"x {folds} folds = {values['judge.steps'] * folds} steps",
        "loop.budget": f"x {rounds} rounds x {arms - 1} arms that generate = {made} images",
    }


def image_size(layout: Layout, machine: Machine) -> int:
    """Return 128 px on a GPU, 64 px otherwise, less where the first image is smaller than that; at least 32."""
    source = layout.source
    if source.frames is not None:
        side = min(source.frames[0].shape[:2])
    else:
        path = next((str(p) for p in source.table.path if p), "")
        try:
            side = min(size_of(path))
        except OSError:
            side = SIZES[1]
    most = SIZES[0] if machine.gpu else SIZES[1]
    return next((size for size in SIZES if size <= min(side, most)), SIZES[-1])
