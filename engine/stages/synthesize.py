"""Stage ``synthesize``: one image for every row of the conditioning, in fixed chunks, the same bytes anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.classifier.weights import open_logits
from engine.config import SynthesisConfig
from engine.data.captions import captions
from engine.diffusion.codec import load_codec
from engine.diffusion.denoiser import load_denoiser
from engine.diffusion.preview import draw_states
from engine.diffusion.synthesis import Guides, Synthesized, Synthesizer, save_png, weights_digest
from engine.errors import DataError
from engine.stages.base import StageContext
from engine.stages.dataset import open_dataset
from engine.stages.prompts import open_prompts
from engine.training import TrainEnv, autocast
from engine.types import IntArray, strings

GUIDING_FOLD = "fold_0.safetensors"
"""The fold of the judge whose gradient may guide synthesis; it then has no say in acceptance."""


DRAWN = 6
"""Samples whose states are drawn."""


@dataclass(frozen=True, kw_only=True)
class SynthesisWorker:
    """Synthesizes chunks of conditioning rows: (B,) row numbers -> images, their NFE, and states of the first rows."""

    inputs: Mapping[str, Path]
    params: Mapping[str, Any]
    device: str
    threads: int
    precision: str

    def load(self) -> Callable[[IntArray], Synthesized]:
        """Open the weights, the conditioning and the parents' images once."""
        env = TrainEnv(device=self.device, threads=self.threads, precision=self.precision)
        env.begin()
        config = SynthesisConfig.model_validate(dict(self.params["synthesis"]))
        synthesizer = open_synthesizer(self.inputs, self.params, config, self.device)
        frame = pd.read_parquet(self.inputs["condition"] / "conditioning.parquet")
        levels_SLD = np.load(self.inputs["condition"] / "levels.npy", allow_pickle=False)
        dataset = open_dataset(self.inputs["images"], self.inputs["split"])
        parent_S = dataset.positions(strings(frame["parent_image_id"].tolist()))
        dx_S = frame["dx"].tolist()
        prompts = captions(dataset.table.take(parent_S).replace(dx=strings(dx_S)))
        seed_S = frame["seed"].to_numpy(dtype=np.int64)

        def synthesize(rows: IntArray) -> Synthesized:
            parents = None
            if config.strength < 1.0:
                parents = np.asarray(dataset.images_NHWC[dataset.rows[parent_S[rows]]])
            with autocast(env):
                return synthesizer.synthesize(
                    levels_SLD[rows],
                    [prompts[i] for i in rows],
                    seed_S[rows],
                    parents,
                    labels=[dx_S[i] for i in rows],
                    states=config.states if 0 in rows else 0,
                )

        return synthesize


def open_synthesizer(
    inputs: Mapping[str, Path], params: Mapping[str, Any], config: SynthesisConfig, device: str
) -> Synthesizer:
    """Return the synthesizer of finished ``denoiser``, ``vae`` and ``embedder`` folders."""
    info = json.loads((inputs["denoiser"] / "denoiser.json").read_text(encoding="utf-8"))
    model = load_denoiser(inputs["denoiser"], device)
    side = int(model.unet.config.sample_size)
    return Synthesizer(
        model=model,
        codec=load_codec(inputs["vae"], device),
        prompts=open_prompts(inputs["embedder"], params["denoiser"]["pretrained"], device),
        config=config,
        scheduler_config=info["scheduler"],
        fuse=info["fuse"],
        beta=info["beta"] if config.beta is None else config.beta,
        shape=(int(model.unet.config.in_channels), side, side),
        device=device,
        guides=_guides(inputs, config, device) if config.steers else None,
    )


def _guides(inputs: Mapping[str, Path], config: SynthesisConfig, device: str) -> Guides:
    """The judge's guiding fold (which the gates then leave out), and the classifier that is to be made to err."""
    judge, classes = open_logits(inputs["judge"] / GUIDING_FOLD, device)
    opponent = None
    if config.adversarial_scale > 0:
        opponent, seen = open_logits(inputs["classifier"] / "classifier.safetensors", device)
        if seen != classes:
            raise DataError(
                f"the classifier knows {', '.join(seen)}, the judge {', '.join(classes)}; train both on one data set"
            )
    return Guides(classes=classes, judge=judge, opponent=opponent)


def run(context: StageContext) -> None:
    """Fill ``images.npy`` (S, H, W, 3), ``synthetic/<sample_id>.png``, ``synthesis.json``; ``states.png`` if asked.

    synthesis.json: nfe (the denoiser's evaluations a sample, measured), sampler, steps, checkpoint (digest).
    """
    config = SynthesisConfig.model_validate(dict(context.params["synthesis"]))
    worker = SynthesisWorker(
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
    info = {
        "nfe": evaluations / len(rows) if len(rows) else None,
        "sampler": config.sampler,
        "steps": config.steps,
        "checkpoint": weights_digest(context.inputs["denoiser"]),
    }
    (context.out / "synthesis.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
