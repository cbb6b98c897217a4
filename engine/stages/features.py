"""Stage ``features``: what fidelity figures look at, of every real image in use; synthetic ones get theirs the same way.

Whole images, not extracted lesions: a wrong background is a flaw too, and generated images have no drawn mask.

Shape legend: N images, F feature width.
"""

from __future__ import annotations

from engine.artifacts import decoded_images
from engine.artifacts import features as features_file
from engine.artifacts.features import FeatureFacts
from engine.config import Config, EmbedderConfig
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.features import FeatureChoice, extract
from engine.stages import base

NAMES = {
    "clip": "the run's CLIP (mean of its levels), trained on train lesions",
    "judge": "penultimate layer of one fold of the judge, trained on train lesions",
    "inception": "pool layer of torchvision's inception_v3 (not the TensorFlow weights of published FIDs)",
}


class Params(base.Params):
    """Which features, and the embedder's settings where they are CLIP's."""

    evaluation: FeatureChoice
    embedder: EmbedderConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(evaluation=FeatureChoice.of(config.evaluation), embedder=config.embedder)


def run(context: StageContext, params: Params) -> None:
    """Fill ``features.npy`` (N, F) float32 in the order of the dataset, and ``features.json`` {name, width}."""
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    rows = extract(
        context,
        params.evaluation,
        params.embedder.tokens,
        decoded_images.IMAGES.path(context.inputs["images"]),
        dataset.rows,
        "features of real images",
    )
    facts = FeatureFacts(name=NAMES[params.evaluation.features], width=int(rows.shape[1]))
    features_file.write(rows, facts, context.out)


STAGE = base.Stage(
    name="features",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "judge"),
    maps=True,
    foundation=True,
    units=lambda _params, sizes: sizes.chunks(sizes.used),
    files=(features_file.FEATURES, FeatureFacts),
)
