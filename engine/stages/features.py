"""Stage ``features``: what fidelity figures look at, of every real image in use; synthetic ones get theirs the same way.

Whole images, not extracted lesions: a wrong background is a flaw too, and generated images have no drawn mask.

Shape legend: N images, F feature width.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.classifier.features import FeatureWorker, predict_features
from engine.parts.dataset import open_dataset
from engine.parts.judge_folds import judge_folds
from engine.retrieval.embedding import Float32Array, fuse
from engine.stages.base import StageContext
from engine.stages.embedder import embed_rows
from engine.types import IntArray

NAMES = {
    "clip": "the run's CLIP (mean of its levels), trained on train lesions",
    "judge": "penultimate layer of one fold of the judge, trained on train lesions",
    "inception": "pool layer of torchvision's inception_v3 (not the TensorFlow weights of published FIDs)",
}


def run(context: StageContext) -> None:
    """Fill ``features.npy`` (N, F) float32 in the order of the dataset, and ``features.json`` {name, width}.

    Params: ``evaluation`` {features, inception}, ``embedder``. Inputs: images, split, embedder, judge.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    rows = extract(context, context.inputs["images"] / "images.npy", dataset.rows, "features of real images")
    np.save(context.out / "features.npy", rows, allow_pickle=False)
    facts = {"name": NAMES[context.params["evaluation"]["features"]], "width": int(rows.shape[1])}
    (context.out / "features.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def extract(context: StageContext, images: Path, rows_N: IntArray, what: str) -> Float32Array:
    """Return features (N, F) of rows of an images file, in about unit scale an entry.

    Raises:
        DataError: ``evaluation.inception`` names no file of Inception weights.
    """
    kind = context.params["evaluation"]["features"]
    if kind == "clip":
        whole = {**context.params, "data": {"mask": "none", "crop": "none"}}
        levels_NLD = embed_rows(replace(context, params=whole), rows_N, what, images=images)
        unit_NF = fuse(levels_NLD, "mean")
        return np.asarray(unit_NF * np.sqrt(unit_NF.shape[1]), dtype=np.float32)
    weights = (
        Path(str(context.params["evaluation"]["inception"]))
        if kind == "inception"
        else judge_folds(context.inputs["judge"])[-1]
    )
    worker = FeatureWorker(
        weights=weights,
        images=images,
        inception=kind == "inception",
        device=context.device,
        threads=context.threads,
    )
    return predict_features(context.map, worker, rows_N, what)
