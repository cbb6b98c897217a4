"""Stage ``accept``: which synthetic images may train, by the gates, by what they would teach, and by room.

Distances are between fused embeddings of extracted lesions (Eq. 1), as in the index. A generated image has no drawn
mask and its parent's does not fit it, so its mask is found as for any image without one (Otsu; the whole image with
``data.mask: none``).

Shape legend: S synthetic images, C classes, F fused width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from engine.artifacts import accept as accept_file
from engine.artifacts import conditioning, synthesized, synthetic
from engine.artifacts import index as index_file
from engine.artifacts import judge as judge_file
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.conditioning import Samples
from engine.artifacts.judge import JudgeFacts
from engine.artifacts.synthetic import SyntheticTable
from engine.classifier.weights import read_meta
from engine.config import Config, EmbedderConfig, JudgeConfig
from engine.errors import DataError
from engine.evaluation.fidelity.memorization import nearest
from engine.parts import judge_panel
from engine.parts.acceptance_figures import COPY_PERCENTILE, Judged, accept_facts
from engine.parts.candidates import Selecting, select
from engine.parts.context import StageContext
from engine.parts.embed import Extraction, embed_rows
from engine.parts.judge_folds import judge_workers
from engine.parts.parent_turns import by_turns
from engine.report.sheets import captioned_sheet
from engine.retrieval.embedding import fuse
from engine.stages import base
from engine.stages.outputs import File
from engine.types import AcceptanceState, BoolArray, IntArray, StrArray, Verdicts, strings
from policies import registry

NO_ROOM: Final = "over max_synthetic_ratio"
"""Reason of images that pass the gates but exceed what a class may have (``loop.max_synthetic_ratio``)."""

ENOUGH: Final = "over max_synthetic"
"""Reason of images that pass the gates but exceed what all classes together may have (``loop.max_synthetic``)."""

NOT_SELECTED: Final = "not selected"
"""Reason of candidates that pass the gates and that the selection policy leaves out."""


class Params(base.Params):
    """The acceptance policy, how many more images may be accepted, and who may judge."""

    optional: ClassVar[frozenset[str]] = frozenset({"most", "review", "selecting"})

    policy: dict[str, Any]
    embedder: EmbedderConfig
    data: Extraction
    judge: JudgeConfig
    room: dict[str, int]
    """Most images to accept per class; a class not named has no room."""
    guided: bool
    """Whether fold 0 of the judge guides synthesis in this run; no image is then judged by it."""
    most: int | None = None
    """Most images to accept in all; None: ``room`` alone."""
    review: dict[str, str] | None = None
    """A person's verdict per sample (accept or reject), where the policy asks for them."""
    selecting: Selecting | None = None
    """How the best of the candidates are chosen; None: all that pass train."""

    @classmethod
    def of(
        cls,
        config: Config,
        room: Mapping[str, int],
        *,
        most: int | None = None,
        review: Mapping[str, str] | None = None,
        policy: Mapping[str, Any] | None = None,
        selecting: Selecting | None = None,
    ) -> Params:
        """Return the gates of a run of ``config``, the same for every source of images.

        ``policy`` takes the place of the config's, for measurements.
        """
        return cls(
            policy=dict(policy or config.policy.acceptance),
            embedder=config.embedder,
            data=Extraction.of(config.data),
            judge=config.judge,
            room=dict(room),
            guided=config.synthesis.generator == "diffusion" and config.synthesis.steers,
            most=most,
            review=None if review is None else dict(sorted(review.items())),
            selecting=selecting,
        )


def run(context: StageContext, params: Params) -> None:
    """Write synthetic.parquet and accept.json; no image at all is fine.

    The gates come first, then the choice among candidates, then the room of each class.

    Raises:
        ConfigError: the acceptance policy's spec is wrong.
        DataError: conditioning and images differ in number, or a class is unknown to the judge.
    """
    samples = conditioning.read_samples(context.inputs["condition"])
    judge = judge_file.read_facts(context.inputs["judge"])
    judged = _judge(context, params, judge, samples)
    policy = registry.make("acceptance", params.policy)
    quantiles = index_file.read_facts(context.inputs["index"]).distance_quantiles
    verdicts = policy.accept(
        AcceptanceState(
            label_S=judged.label_S,
            classes=judged.classes,
            judge_prob_SC=judged.prob_SC,
            nearest_train_distance_S=judged.distance_S,
            train_distance_quantiles=quantiles,
            judge_threshold={k: v for k, v in judge.thresholds.items() if v is not None},
            verdict_S=_reviewed(context, params, samples),
        )
    )
    value_S = np.full(len(samples), np.nan)
    if params.selecting is not None:
        names = (samples.sample_id, samples.parent_image_id)
        chosen = select(context, params.selecting, judged, *names, verdicts.accepted_S)
        verdicts, value_S = only_chosen(verdicts, chosen.keep_S), chosen.value_S
    verdicts = limit(verdicts, samples.label_S, samples.parent_image_id, params.room, params.most)
    table = SyntheticTable(
        samples=samples,
        verdicts=verdicts,
        judge_p_S=judged.own_p_S,
        judge_predicted_S=judged.predicted_S,
        nearest_train_id_S=judged.nearest_id_S,
        nearest_train_distance_S=judged.distance_S,
        policy=str(params.policy["name"]),
        checkpoint=synthesized.read_facts(context.inputs["synthesize"]).checkpoint,
        judge_prob_SC=judged.calibrated_SC,
        value_S=value_S,
    )
    synthetic.write(table, context.out)
    facts = accept_facts(judged, verdicts, samples.parent_image_id, judge, quantiles[COPY_PERCENTILE])
    accept_file.write(facts, context.out)


def only_chosen(verdicts: Verdicts, keep_S: BoolArray) -> Verdicts:
    """Reject what passed the gates and was not chosen."""
    left_out_S = verdicts.accepted_S & ~keep_S
    reason_S = np.where(left_out_S, NOT_SELECTED, verdicts.reason_S)
    return Verdicts(accepted_S=verdicts.accepted_S & keep_S, reason_S=strings(reason_S.tolist()))


def limit(
    verdicts: Verdicts, dx_S: StrArray, parent_S: StrArray, room: Mapping[str, int], most: int | None = None
) -> Verdicts:
    """Reject what passed the gates but exceeds its class's room (a class not named has none), or ``most`` in all.

    Every parent keeps its first accepted image before any keeps a second (``by_turns``); in between, samples keep their
    order (hardest parents first).
    """
    taken: dict[str, int] = {}
    accepted_S = verdicts.accepted_S.copy()
    reasons = [str(reason) for reason in verdicts.reason_S]
    for s in by_turns(np.flatnonzero(verdicts.accepted_S).tolist(), parent_S):
        dx = str(dx_S[s])
        if taken.get(dx, 0) >= room.get(dx, 0):
            accepted_S[s], reasons[s] = False, NO_ROOM
        elif most is not None and sum(taken.values()) >= most:
            accepted_S[s], reasons[s] = False, ENOUGH
        else:
            taken[dx] = taken.get(dx, 0) + 1
    return Verdicts(accepted_S=accepted_S, reason_S=strings(reasons))


def _reviewed(context: StageContext, params: Params, samples: Samples) -> StrArray | None:
    """A person's verdicts in the order of the samples ("" without one); draws the sheet they are asked on."""
    review = params.review
    if review is None:
        return None
    names = samples.sample_id.tolist()
    images = synthesized.open_images(context.inputs["synthesize"])
    captions = [f"{dx} {name}" for dx, name in zip(samples.label_S.tolist(), names, strict=True)]
    if names:
        captioned_sheet([np.asarray(image) for image in images], captions, context.out / "review.png")
    return strings([review.get(name, "") for name in names])


def _judge(context: StageContext, params: Params, judge: JudgeFacts, samples: Samples) -> Judged:
    """Let every image be judged by folds that have not seen its parent (``judge_panel``), and find its nearest train image.

    Where a fold's gradient has guided synthesis (``guided``) it is left out: it would only agree with itself.
    """
    images = synthesized.IMAGES.path(context.inputs["synthesize"])
    count = len(synthesized.open_images(context.inputs["synthesize"]))
    if count != len(samples):
        raise DataError(
            f"{images} holds {count} images for {len(samples)} rows of conditioning.parquet; rerun synthesize"
        )
    rows_S = np.arange(count, dtype=np.int64)
    workers = judge_workers(context, images, guided=params.guided)
    known = workers[0].weights
    classes = read_meta(known).classes
    label_S = _labels(samples.label_S, classes, known.name)
    levels_SLD = embed_rows(
        context,
        rows_S,
        "embed synthetic images",
        tokens=params.embedder.tokens,
        cut=params.data,
        images=images,
    )
    fused_SF = fuse(levels_SLD, params.embedder.fuse)
    distance_S, train_S = nearest(fused_SF, index_file.read_fused(context.inputs["index"]))
    panels = judge_panel.panels(context, workers, samples.parent_image_id)
    prob_SC, calibrated_SC = judge_panel.probabilities(
        context, panels, count, len(classes), judge.temperature
    )
    return Judged(
        classes=classes,
        prob_SC=prob_SC,
        calibrated_SC=calibrated_SC,
        real_recall_S=judge_panel.real_recall(panels, label_S, classes, judge),
        label_S=label_S,
        nearest_id_S=index_file.read(context.inputs["index"]).image_id[train_S],
        distance_S=distance_S,
    )


def _labels(dx_S: StrArray, classes: tuple[str, ...], weights: str) -> IntArray:
    """Return each image's class index (DataError: the judge does not know a class; names it)."""
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(dx) for dx in dx_S} - set(classes))
    if unknown:
        raise DataError(f"{weights} knows {', '.join(classes)}, not {', '.join(unknown)}; rerun the judge")
    return np.array([position[str(dx)] for dx in dx_S], dtype=np.int64)


STAGE = base.Stage(
    name="accept",
    version=7,
    params=Params,
    run=run,
    inputs=("images", "split", "synthesize", "condition", "judge", "embedder", "index"),
    optional=("classifier", "predictions"),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.samples),
    files=(
        synthetic.SCHEMA,
        AcceptFacts,
        File("review.png", "the sheet a person is asked on, where the policy asks"),
    ),
)
