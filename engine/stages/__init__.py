"""The stages of a run, one module per stage, and the list of them in the order of a run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from engine.parts.context import StageContext
from engine.stages.base import Stage

NAMES: Final = (
    "images", "split", "embedder", "index", "vae", "latents", "denoiser", "distill", "likelihood", "gan", "judge",
    "features", "challenging", "ask", "pool", "classifier", "predict", "crossfit", "mine", "condition", "synthesize",
    "accept", "fidelity", "thumbnails", "evaluate", "preview",
)  # fmt: skip
"""Every stage, in the order in which a run comes to it first; each is the module of its name."""


def find(name: str) -> Stage[Any]:
    """Return a stage by its name (KeyError: there is none). Imports its module, and torch with it."""
    if name not in NAMES:
        raise KeyError(name)
    stage: Stage[Any] = importlib.import_module(f"engine.stages.{name}").STAGE
    return stage


def every_stage() -> Iterator[Stage[Any]]:
    """Yield all stages in their order."""
    return (find(name) for name in NAMES)


def run_stage(name: str, context: StageContext, params: Mapping[str, Any]) -> None:
    """Run a stage; the thread counts of torch and of matrix libraries are set first, since results depend on them.

    Args:
        name: which stage.
        context: its folders, seed, device and ways to map and train.
        params: the plain JSON of its params.

    Raises:
        StageError: an input is missing or unknown.
    """
    stage = find(name)
    stage.check_inputs(context.inputs)
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(context.threads)
    with threadpool_limits(context.threads):
        stage.run(context, stage.params.from_json(params))
