"""Candidates as a selection policy sees them: what judge and classifier say of each, and real lesions beside them.

The classifier is the one that ``hard`` had before the round, for every source. Real lesions are those that hard cases were
mined from, with the probabilities that were mined: by a classifier, or a fold of it, that did not train on them.

Shape legend: S candidates, N real lesions, C classes, F features of the classifier's last hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from engine.arms import ARMS
from engine.artifacts import classifier_fit, decoded_images, synthesized
from engine.artifacts import predictions as predictions_file
from engine.classifier.weights import read_meta
from engine.config import Config
from engine.errors import DataError
from engine.parts.acceptance_figures import Judged
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.own_images import mined_rows, own_sets
from engine.parts.seen import see
from engine.parts.soft_labels import SoftLabels
from engine.training.plan import derive_seed
from engine.types import BoolArray, IntArray, Selection, SelectionState, StrArray
from policies import registry

Floats = npt.NDArray[np.float64]
UNGUIDED = {"name": "random"}
"""How an arm chooses that does without the engine."""


class Selecting(BaseModel):
    """How candidates are chosen: by which policy, how many, and what each would train with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: dict[str, Any]
    total: int
    round: int
    mine_from: Literal["mine", "crossfit", "test"]
    train_sets: list[int] | None
    labels: SoftLabels | None

    @classmethod
    def of(cls, config: Config, number: int, source: str) -> Selecting | None:
        """Return how ``source`` chooses in a round; None where no more images are made than the budget."""
        if config.loop.candidates == 1.0:
            return None
        return cls(
            policy=UNGUIDED if ARMS[source].parents == "uniform" else config.policy.selection,
            total=config.loop.budget,
            round=number,
            mine_from=config.loop.mine_from,
            train_sets=own_sets(config),
            labels=SoftLabels.of(config, source),
        )


def select(
    context: StageContext,
    how: Selecting,
    judged: Judged,
    sample_id: StrArray,
    parent_image_id: StrArray,
    passed_S: BoolArray,
) -> Selection:
    """Choose among candidates; inputs are those of the gates, ``classifier`` and ``predictions``.

    Raises:
        DataError: the classifier knows other classes than the judge.
    """
    policy = registry.make("selection", how.policy)
    weights = context.inputs["classifier"] / classifier_fit.WEIGHTS
    classes = read_meta(weights).classes
    if classes != judged.classes:
        raise DataError(
            f"{weights.name} knows {', '.join(classes)}, the judge {', '.join(judged.classes)}; train both on one data set"
        )
    count = len(sample_id)
    images = synthesized.IMAGES.path(context.inputs["synthesize"])
    seen = see(context, weights, images, np.arange(count, dtype=np.int64), "what candidates teach")
    feature_SF, prob_SC = seen.feature_NF, seen.prob_NC()
    real = (
        _Real.of(context, how, weights)
        if policy.wants_real
        else _Real.none(feature_SF.shape[1], len(classes))
    )
    state = SelectionState(
        sample_id=sample_id,
        label_S=judged.label_S,
        classes=classes,
        parent_image_id=parent_image_id,
        passed_S=passed_S,
        judge_prob_SC=judged.calibrated_SC,
        classifier_prob_SC=prob_SC,
        target_SC=_targets(how.labels, judged),
        feature_SF=feature_SF,
        real_feature_NF=real.feature_NF,
        real_prob_NC=real.prob_NC,
        real_label_N=real.label_N,
        total=how.total,
        round=how.round,
        generated={dx: int((judged.label_S == c).sum()) for c, dx in enumerate(classes)},
    )
    return policy.select(state, np.random.default_rng(derive_seed(context.seed, "select", how.round)))


def _targets(labels: SoftLabels | None, judged: Judged) -> Floats:
    """Return the label each candidate would train with, (S, C)."""
    if labels is None or not labels.soft:
        return np.asarray(np.eye(len(judged.classes))[judged.label_S])
    return labels.labels(judged.calibrated_SC, judged.label_S)


@dataclass(frozen=True, kw_only=True)
class _Real:
    """Features, probabilities and classes of real lesions."""

    feature_NF: npt.NDArray[np.float32]
    prob_NC: Floats
    label_N: IntArray

    @classmethod
    def none(cls, width: int, classes: int) -> _Real:
        """Return no lesion, with the right shapes."""
        feature_NF = np.zeros((0, width), dtype=np.float32)
        return cls(feature_NF=feature_NF, prob_NC=np.zeros((0, classes)), label_N=np.zeros(0, dtype=np.int64))

    @classmethod
    def of(cls, context: StageContext, how: Selecting, weights: Path) -> _Real:
        """Return the images that hard cases were mined from."""
        dataset = open_dataset(context.inputs["images"], context.inputs["split"])
        rows = mined_rows(dataset, how.mine_from, how.train_sets)
        images = decoded_images.IMAGES.path(context.inputs["images"])
        feature_NF = see(context, weights, images, dataset.rows[rows], "what real lesions teach").feature_NF
        known = predictions_file.read(context.inputs["predictions"])
        found = predictions_file.find(known, dataset.table.image_id[rows], "the mined part")
        prob_NC = np.asarray(found.prob_NC, dtype=np.float64)
        return cls(feature_NF=feature_NF, prob_NC=prob_NC, label_N=dataset.labels[rows])
