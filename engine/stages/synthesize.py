"""Stage ``synthesize``: one image for every row of the conditioning, in fixed chunks, the same bytes anywhere."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from engine.config import GENERATOR_PARTS, SynthesisConfig
from engine.diffusion.preview import draw_states
from engine.diffusion.synthesis import save_png, weights_digest
from engine.parts.generators.table import GENERATORS
from engine.stages.base import StageContext

DRAWN = 6
"""Samples whose states are drawn."""


def run(context: StageContext) -> None:
    """Fill ``images.npy`` (S, H, W, 3), ``synthetic/<sample_id>.png``, ``synthesis.json``; ``states.png`` if asked.

    synthesis.json: nfe (the denoiser's evaluations a sample, measured), sampler, steps, checkpoint (digest).
    """
    config = SynthesisConfig.model_validate(dict(context.params["synthesis"]))
    worker = GENERATORS[config.generator](
        inputs=dict(context.inputs),
        params=dict(context.params),
        device=context.device,
        threads=context.threads,
        precision=context.precision,
    )
    frame = pd.read_parquet(context.inputs["condition"] / "conditioning.parquet")
    rows = np.arange(len(frame), dtype=np.int64)
    size = config.batch_size
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    pieces, evaluations = [], 0
    for done, made in enumerate(context.map(worker, chunks, "synthesize"), start=1):
        pieces.append(made.images_BHWC)
        evaluations += made.evaluations * len(made.images_BHWC)
        if made.states:
            draw_states(made.states, context.out / "states.png", DRAWN)
        context.progress("synthesize", min(done * size, len(rows)), len(rows))
    if not pieces:
        side = int(np.load(context.inputs["images"] / "images.npy", mmap_mode="r").shape[1])
        pieces = [np.zeros((0, side, side, 3), dtype=np.uint8)]
    images = np.concatenate(pieces)
    np.save(context.out / "images.npy", images, allow_pickle=False)
    (context.out / "synthetic").mkdir()
    for name, image in zip(frame["sample_id"], images, strict=True):
        save_png(image, context.out / "synthetic" / f"{name}.png")
    weights = [context.inputs[part] for part in GENERATOR_PARTS[config.generator]]
    info = {
        "generator": config.generator,
        "nfe": evaluations / len(rows) if len(rows) else None,
        "sampler": config.sampler,
        "steps": config.steps,
        "checkpoint": weights_digest(weights[-1]) if weights else "",
    }
    (context.out / "synthesis.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
