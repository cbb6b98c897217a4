"""Stage ``challenging``: the test lesions that reference models get wrong, listed before any arm is trained.

The reference models are the judge's folds: another architecture than the classifier, trained on train lesions only. Never
"what round 0 got wrong": that improves by itself, by regression to the mean.

Shape legend: N test images, T models, C classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.artifacts import challenging as challenging_file
from engine.artifacts import decoded_images
from engine.artifacts.challenging import ChallengingFacts, ChallengingImages
from engine.classifier.predict import lesion_means, predict_logits, softmax
from engine.config import Config
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.judge_folds import judge_workers
from engine.stages import base
from engine.types import BoolArray, IntArray, StrArray


class Params(base.Params):
    """Nothing: the judge's folds are the reference models, whatever they are."""

    @classmethod
    def of(cls, _config: Config) -> Params:
        """Return the same for every run."""
        return cls()


def run(context: StageContext, _params: Params) -> None:
    """Fill ``challenging.parquet`` (image_id, lesion_id, dx, challenging) of the test part and ``challenging.json``."""
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    test = dataset.where("test")
    table = dataset.table.take(test)
    models = judge_workers(context, decoded_images.IMAGES.path(context.inputs["images"]))
    prob_TNC = np.stack([
        softmax(predict_logits(context.map, model, dataset.rows[test], f"reference model {number}"))
        for number, model in enumerate(models, start=1)
    ])  # fmt: skip
    wrong_N = wrong_for_all(prob_TNC, dataset.labels[test], table.lesion_id)
    images = ChallengingImages(
        image_id=table.image_id, lesion_id=table.lesion_id, dx=table.dx, challenging_N=wrong_N
    )
    facts = ChallengingFacts(
        models=len(models),
        n_lesions=len(np.unique(table.lesion_id)),
        n_challenging=len(np.unique(table.lesion_id[wrong_N])),
    )
    challenging_file.write(images, facts, context.out)


def wrong_for_all(prob_TNC: npt.NDArray[np.float64], label_N: IntArray, lesion_id: StrArray) -> BoolArray:
    """Return which images show a lesion that every model gets wrong, by its mean probability over the lesion's images."""
    _, first, group_N = np.unique(lesion_id, return_index=True, return_inverse=True)
    right_TG = [lesion_means(prob_NC, group_N).argmax(axis=1) == label_N[first] for prob_NC in prob_TNC]
    return np.asarray(~np.any(right_TG, axis=0)[group_N], dtype=np.bool_)


STAGE = base.Stage(
    name="challenging",
    params=Params,
    run=run,
    inputs=("images", "split", "judge"),
    maps=True,
    foundation=True,
    units=lambda _params, sizes: sizes.chunks(sizes.used),
    files=(challenging_file.SCHEMA, ChallengingFacts),
)
