"""Stage ``ask``: chooses the unlabelled images whose labels a classifier would learn most from, by the query policy.

One image per lesion, and none that looks like an image the classifier has, or like one that was asked about before. What was
labelled before counts as labelled; what was asked about without getting a label still covers its surroundings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engine.artifacts import asked, classifier_fit, decoded_images
from engine.artifacts import calibration as calibration_file
from engine.artifacts import duplicates as duplicates_file
from engine.artifacts.asked import Asked, AskedFacts
from engine.config import Config
from engine.data.splits import group_rows
from engine.errors import DataError
from engine.parts.context import StageContext
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.draws import make_draws
from engine.parts.own_images import own_sets
from engine.parts.seen import see
from engine.stages import base
from engine.training.plan import derive_seed
from engine.types import UNLABELLED, BoolArray, IntArray, QueryState, StrArray, strings
from policies import registry

NEIGHBOURS = 4
"""Labelled images shown beside each question."""
BLOCK = 256
"""Questions whose similarities are computed at a time."""


class Params(base.Params):
    """Which policy chooses, how many images, and which were chosen before."""

    optional: ClassVar[frozenset[str]] = frozenset({"train_sets", "besides", "answers"})

    policy: dict[str, Any]
    total: int
    round: int
    malignant: list[str]
    train_sets: list[int] | None = None
    besides: list[str] | None = None
    """Images that were asked about before; nor are others of their lesions asked about. None: there are none."""
    answers: dict[str, str] | None = None
    """The class that was given to each of ``besides`` that has one; these are labelled images. None: there are none."""

    @classmethod
    def of(
        cls,
        config: Config,
        number: int,
        *,
        policy: dict[str, Any] | None = None,
        total: int | None = None,
        besides: Sequence[str] = (),
        answers: Mapping[str, str] | None = None,
    ) -> Params:
        """Return the questions of round ``number``; by default those of the config's policy and budget."""
        return cls(
            policy=config.policy.query if policy is None else policy,
            total=config.loop.labels_per_round if total is None else total,
            round=number,
            malignant=config.data.malignant,
            train_sets=own_sets(config),
            besides=sorted(besides) or None,
            answers=dict(sorted(answers.items())) if answers else None,
        )


def run(context: StageContext, params: Params) -> None:
    """Write asked.parquet and asked.json: at most ``total`` images, the one to ask about first on top.

    Inputs: images, split, classifier, its predict stage for the temperature; judge where a policy asks a committee.

    Raises:
        ConfigError: the query policy's spec is wrong.
        DataError: the data has no unlabelled image.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"], unlabelled=True)
    pool = dataset.where(UNLABELLED)
    if len(pool) == 0:
        raise DataError(
            "there is no unlabelled image to ask about; give data.unlabelled=keep and images without a diagnosis, or "
            "data.split.hide_labels for a study"
        )
    own = dataset.own(params.train_sets)
    cluster_N = clusters(dataset, duplicates_file.read(context.inputs["images"]).ids)
    open_U, left_out = _open(dataset, pool, cluster_N, own, params.besides or ())
    candidates = pool[open_U]
    calibration = calibration_file.read(context.inputs["predictions"])
    bought, without = _earlier(dataset, pool, params)
    labelled = np.concatenate([own, bought])
    count, all_rows = len(candidates), dataset.rows[np.concatenate([candidates, labelled, without])]
    weights = context.inputs["classifier"] / classifier_fit.WEIGHTS
    seen = see(context, weights, decoded_images.IMAGES.path(context.inputs["images"]), all_rows, "ask")
    asked_about = replace(seen, feature_NF=seen.feature_NF[:count])
    labelled_MF, without_AF = np.split(seen.feature_NF[count:], [len(labelled)])
    policy = registry.make("query", params.policy)
    state = QueryState(
        image_id=dataset.table.image_id[candidates],
        group=cluster_N[candidates],
        classes=calibration.classes,
        prob_NC=seen.prob_NC(calibration.temperature)[:count],
        feature_NF=asked_about.feature_NF,
        labelled_feature_MF=labelled_MF,
        labelled_label_M=np.concatenate([dataset.labels[own], _classes(dataset, bought, params)]),
        unlabelled_asked_AF=without_AF if len(without) else None,
        draws_TNC=None
        if policy.wanted is None
        else make_draws(context, policy.wanted, all_rows[:count], calibration.classes, asked_about),
        total=params.total,
        round=params.round,
        malignant=tuple(params.malignant),
    )
    query = policy.query(state, np.random.default_rng(derive_seed(context.seed, "ask", params.round)))
    chosen = query.chosen
    questions = Asked(
        image_id=state.image_id[chosen],
        value_Q=np.asarray(query.value_N, dtype=np.float64)[chosen],
        predicted=strings([calibration.classes[k] for k in state.prob_NC[chosen].argmax(axis=1)]),
        prob_QC=state.prob_NC[chosen],
        neighbour_ids_QK=nearest(
            asked_about.feature_NF[chosen],
            labelled_MF[: len(own)],
            dataset.table.image_id[own],
            cluster_N[own],
        ),
    )
    facts = AskedFacts(
        classes=calibration.classes,
        policy=str(params.policy["name"]),
        wanted=params.total,
        unlabelled=len(pool),
        open=count,
        left_out=left_out,
    )
    asked.write(questions, facts, context.out)


def clusters(dataset: Dataset, pairs: Sequence[tuple[str, str]]) -> StrArray:
    """Return what shows one lesion: photographs of one lesion id, and near-duplicates; a patient's lesions stay apart."""
    there = set(dataset.table.image_id.tolist())
    inside = [pair for pair in pairs if there.issuperset(pair)]
    return group_rows(dataset.table.replace(patient_id=strings([""] * len(dataset.table))), inside)


def _open(
    dataset: Dataset, pool: IntArray, cluster_N: StrArray, own: IntArray, besides: Sequence[str]
) -> tuple[BoolArray, dict[str, int]]:
    """Return which images of ``pool`` may be asked about, and why how many of the others may not."""
    before_N = np.isin(dataset.table.image_id, list(besides))
    asked_U = before_N[pool]
    lesion_U = np.isin(cluster_N[pool], cluster_N[before_N]) & ~asked_U
    like_U = np.isin(cluster_N[pool], cluster_N[own]) & ~asked_U & ~lesion_U
    counts = {
        "asked before": asked_U,
        "their lesion was asked about before": lesion_U,
        "like a labelled image": like_U,
    }
    return ~(asked_U | lesion_U | like_U), {why: int(n) for why, mask in counts.items() if (n := mask.sum())}


def _earlier(dataset: Dataset, pool: IntArray, params: Params) -> tuple[IntArray, IntArray]:
    """Return the positions of images asked about before: those that were given a class, and those that were not.

    One that is no unlabelled image of this split any more is among the classifier's own, or out of use.
    """
    names = dataset.table.image_id[pool]
    asked_before = pool[np.isin(names, params.besides or [])]
    answered = np.isin(dataset.table.image_id[asked_before], list(params.answers or {}))
    return asked_before[answered], asked_before[~answered]


def _classes(dataset: Dataset, bought: IntArray, params: Params) -> IntArray:
    """Return the class indices that bought images were given (DataError: one is no class of the data)."""
    answers = params.answers or {}
    given = [answers[name] for name in dataset.table.image_id[bought].tolist()]
    if strange := sorted(set(given) - set(dataset.classes)):
        raise DataError(
            f"labels.parquet: {strange[0]} is no class of the data ({', '.join(dataset.classes)}); withdraw the answer"
        )
    return dataset.indices(strings(given))


def nearest(
    query_QF: npt.NDArray[np.float32],
    own_MF: npt.NDArray[np.float32],
    image_id: StrArray,
    cluster_M: StrArray,
) -> StrArray:
    """Return the ids (Q, K) of the own images most like each question by cosine, one per lesion; "" in unused slots."""
    unit_MF = own_MF / np.maximum(np.linalg.norm(own_MF, axis=1, keepdims=True), 1e-12)
    found = np.full((len(query_QF), NEIGHBOURS), "", dtype=image_id.dtype if len(image_id) else "<U1")
    for start in range(0, len(query_QF), BLOCK):
        for row, like_M in enumerate(query_QF[start : start + BLOCK] @ unit_MF.T, start):
            taken: set[str] = set()
            for own in np.argsort(-like_M, kind="stable").tolist():
                if len(taken) == NEIGHBOURS:
                    break
                if cluster_M[own] not in taken:
                    found[row, len(taken)] = image_id[own]
                    taken.add(str(cluster_M[own]))
    return strings(found.ravel()).reshape(found.shape)


STAGE = base.Stage(
    name="ask",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "classifier", "predictions"),
    optional=("judge",),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.used),
    files=(asked.SCHEMA, AskedFacts),
)
