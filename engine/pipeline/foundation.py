"""The foundation: what is computed once per split, from train lesions alone, and shared by every arm, seed and trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.pipeline.pipeline import Pipeline
from engine.stages import every_stage, images, split

DATA: Final = (images.STAGE, split.STAGE)
"""The stages that only read and deal the data."""


def decode(pipeline: Pipeline) -> None:
    """Decode the images."""
    pipeline.foundation(images.STAGE, images.Params.of(pipeline.config, pipeline.fingerprint), seed=0)


def lay_data(pipeline: Pipeline, labels: Mapping[str, str] | None = None) -> None:
    """Decode the images and split them; ``labels`` are classes that readers gave to unlabelled images."""
    decode(pipeline)
    divide(pipeline, labels)


def divide(pipeline: Pipeline, labels: Mapping[str, str] | None = None) -> None:
    """Split decoded images (DataError where classes are too rare); ``labels`` as for ``lay_data``."""
    pipeline.foundation(split.STAGE, split.Params.of(pipeline.config, labels))


def lay_foundation(pipeline: Pipeline) -> None:
    """Compute every other foundation stage that the config wants, in the order of the list of stages."""
    for stage in every_stage():
        if stage.foundation and stage not in DATA and stage.wanted(pipeline.config):
            pipeline.foundation(stage, stage.params.of(pipeline.config))
