"""Stage ``classifier``: fit the classifier on a pool, from scratch or going on from an earlier round's."""

from __future__ import annotations

import functools
import json

import numpy as np

from engine.classifier.inputs import ImageRows
from engine.classifier.train import FitJob, make_plan, run_job
from engine.config import ClassifierConfig
from engine.parts.dataset import open_dataset
from engine.stages.base import StageContext
from engine.stages.pool import read_pool


def run(context: StageContext) -> None:
    """Fill ``classifier.safetensors`` and ``classifier.json`` {losses, optimizer_steps, n_rows}.

    Params: ``classifier``; ``plain`` (real_augment instead of augment); ``steps`` and ``lr`` of this fit.
    """
    config = ClassifierConfig.model_validate(context.params["classifier"])
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    pool = read_pool(context.inputs["pool"])
    index = {name: position for position, name in enumerate(dataset.classes)}
    own = len(pool) - sum(
        json.loads((context.inputs["pool"] / "pool.json").read_text("utf-8"))["added"].values()
    )
    files = (context.inputs["images"] / "images.npy", context.inputs["pool"] / "extra.npy")
    init = context.inputs.get("init")
    job = FitJob(
        images=ImageRows(
            files=files,
            source_N=(pool["source"] == "extra").to_numpy().astype(np.int64),
            row_N=pool["row"].to_numpy().astype(np.int64),
        ),
        labels_N=np.array([index[str(dx)] for dx in pool["dx"]], dtype=np.int64),
        classes=dataset.classes,
        image_size=int(dataset.images_NHWC.shape[1]),
        config=config,
        plan=make_plan(
            config, "classifier", context.seed, context.params.get("steps"), context.params.get("lr")
        ),
        augment=config.real_augment if context.params.get("plain", False) else config.augment,
        weights=context.out / "classifier.safetensors",
        report=context.out / "classifier.json",
        checkpoint=context.checkpoint,
        init=None if init is None else init / "classifier.safetensors",
        mix=config.mix,
        added_N=np.arange(len(pool)) >= own,
        synthetic_N=(pool["origin"] == "synthetic").to_numpy(),
    )
    context.launch(functools.partial(run_job, job))
