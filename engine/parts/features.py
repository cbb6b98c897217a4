"""Features that fidelity figures look at: the run's CLIP, the judge, or Inception; of real and synthetic images alike."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from engine.classifier.features import FeatureWorker, predict_features
from engine.config import EvaluationConfig
from engine.parts.context import StageContext
from engine.parts.embed import WHOLE, embed_rows
from engine.parts.judge_folds import judge_folds
from engine.retrieval.embedding import Float32Array, fuse
from engine.types import IntArray


class FeatureChoice(BaseModel):
    """Which features: ``evaluation.features`` and ``evaluation.inception``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: Literal["clip", "judge", "inception"]
    inception: str | None

    @classmethod
    def of(cls, section: EvaluationConfig) -> FeatureChoice:
        """Return what the evaluation section says."""
        return cls(features=section.features, inception=section.inception)


def extract(
    context: StageContext,
    choice: FeatureChoice,
    tokens: Literal["cls", "patches"],
    images: Path,
    rows_N: IntArray,
    what: str,
) -> Float32Array:
    """Return features (N, F) of rows of an images file, in about unit scale per entry.

    Whole images, not extracted lesions: a wrong background is a flaw too, and generated images have no drawn mask. In
    float32 whatever the run's precision: these are figures, and no search.

    Args:
        context: needs the input ``embedder`` for CLIP's features, ``judge`` for the judge's.
        choice: which features.
        tokens: ``embedder.tokens``.
        images: file of images (N, H, W, 3) uint8.
        rows_N: row numbers in it.
        what: names the work in progress bars.

    Raises:
        DataError: ``evaluation.inception`` names no file of Inception weights.
    """
    if choice.features == "clip":
        levels_NLD = embed_rows(
            context, rows_N, what, tokens=tokens, cut=WHOLE, images=images, precision="float32"
        )
        unit_NF = fuse(levels_NLD, "mean")
        return np.asarray(unit_NF * np.sqrt(unit_NF.shape[1]), dtype=np.float32)
    inception = choice.features == "inception"
    worker = FeatureWorker(
        weights=Path(str(choice.inception)) if inception else judge_folds(context.inputs["judge"])[-1],
        images=images,
        inception=inception,
        device=context.device,
        threads=context.threads,
    )
    return predict_features(context.map, worker, rows_N, what)
