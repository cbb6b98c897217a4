"""Stage ``accept``: which synthetic images may train, by the independent judge, nearest train image, and room.

Distances are between fused embeddings of extracted lesions (Eq. 1), as in the index. A generated image has no drawn
mask and its parent's does not fit it, so its mask is found as for any image without one (Otsu; the whole image with
``data.mask: none``).

Shape legend: S synthetic images, C classes, F fused width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from engine.classifier.weights import read_meta
from engine.config import Config, EmbedderConfig, JudgeConfig
from engine.errors import DataError
from engine.evaluation.fidelity.memorization import nearest
from engine.parts import judge_panel
from engine.parts.context import StageContext
from engine.parts.embed import Extraction, embed_rows
from engine.parts.judge_folds import judge_workers
from engine.parts.parent_turns import by_turns
from engine.retrieval.embedding import fuse
from engine.stages import base
from engine.stages.thumbnails import contact_sheet
from engine.types import AcceptanceState, IntArray, StrArray, Verdicts, strings
from policies import registry

NO_ROOM: Final = "over max_synthetic_ratio"
"""Reason of images that pass the gates but exceed what a class may have (``loop.max_synthetic_ratio``)."""

ENOUGH: Final = "over max_synthetic"
"""Reason of images that pass the gates but exceed what all classes together may have (``loop.max_synthetic``)."""

COPY_PERCENTILE: Final = 1
"""A sample nearer to a train image than this percentile of distances between different lesions counts as a copy."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the gates look at: judge probabilities and nearest train image of each of S images.

    ``real_recall_S``: how often those who judge an image are right on unseen real lesions of its class, NaN: unknown.
    """

    classes: tuple[str, ...]
    prob_SC: npt.NDArray[np.float64]
    real_recall_S: npt.NDArray[np.float64]
    label_S: IntArray
    nearest_id_S: StrArray
    distance_S: npt.NDArray[np.float64]

    @property
    def agrees_S(self) -> npt.NDArray[np.bool_]:
        """Whether the judge's first choice is the intended class."""
        return np.asarray(self.prob_SC.argmax(axis=1) == self.label_S)


class Params(base.Params):
    """The acceptance policy, how many more images may be accepted, and who may judge."""

    optional: ClassVar[frozenset[str]] = frozenset({"most", "review"})

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

    @classmethod
    def of(
        cls,
        config: Config,
        room: Mapping[str, int],
        *,
        most: int | None = None,
        review: Mapping[str, str] | None = None,
        policy: Mapping[str, Any] | None = None,
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
        )


def run(context: StageContext, params: Params) -> None:
    """Write synthetic.parquet and accept.json; no image at all is fine.

    Raises:
        ConfigError: the acceptance policy's spec is wrong.
        DataError: conditioning and images differ in number, or a class is unknown to the judge.
    """
    samples = pq.read_table(context.inputs["condition"] / "conditioning.parquet")
    dx_S, parent_S = (strings(samples[name].to_pylist()) for name in ("dx", "parent_image_id"))
    judge = _read_json(context.inputs["judge"] / "judge.json")
    judged = _judge(context, params, judge, dx_S, parent_S)
    policy = registry.make("acceptance", params.policy)
    quantiles = _read_json(context.inputs["index"] / "index.json")["quantiles"]
    verdicts = policy.accept(
        AcceptanceState(
            label_S=judged.label_S,
            classes=judged.classes,
            judge_prob_SC=judged.prob_SC,
            nearest_train_distance_S=judged.distance_S,
            train_distance_quantiles={int(k): float(v) for k, v in quantiles.items()},
            judge_threshold={k: float(v) for k, v in judge["thresholds"].items() if v is not None},
            verdict_S=_reviewed(context, params, samples),
        )
    )
    verdicts = limit(verdicts, dx_S, parent_S, params.room, params.most)
    _write_table(context, str(params.policy["name"]), samples, judged, verdicts)
    summary = agreement(judged, verdicts, judge["val_recall"])
    summary["memorized"] = memorized(judged.distance_S, float(quantiles[str(COPY_PERCENTILE)]))
    (context.out / "accept.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", "utf-8")


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


def agreement(judged: Judged, verdicts: Verdicts, val_recall: Mapping[str, float | None]) -> dict[str, Any]:
    """Return accept.json: how often the judge takes ungated samples for their class, against unseen real lesions.

    ``expected_agreement`` is how often those who judge the samples are right on real ones (``real_recall_S``), averaged over
    samples; ``agreement_ratio`` is agreement over it, both on the samples where it is known. Undefined figures are None.
    """
    per_class = {}
    for position, dx in enumerate(judged.classes):
        own_S = judged.label_S == position
        per_class[dx] = {
            "generated": int(own_S.sum()),
            "accepted": int(verdicts.accepted_S[own_S].sum()),
            "agreement": float(judged.agrees_S[own_S].mean()) if own_S.any() else None,
            "val_recall": val_recall.get(dx),
        }
    recall_S = judged.real_recall_S
    known_S = np.isfinite(recall_S)
    expected = float(recall_S[known_S].mean()) if known_S.any() else None
    return {
        "agreement": float(judged.agrees_S.mean()) if len(judged.label_S) else None,
        "expected_agreement": expected,
        "agreement_ratio": float(judged.agrees_S[known_S].mean()) / expected if expected else None,
        "per_class": per_class,
        "rejected": _gates(verdicts),
    }


def memorized(distance_S: npt.NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """Return how many samples, before any gate, come nearer to a train image than ``threshold`` (rate None: no sample)."""
    count = int((distance_S < threshold).sum())
    return {
        "count": count,
        "rate": count / len(distance_S) if len(distance_S) else None,
        "threshold": threshold,
        "percentile": COPY_PERCENTILE,
    }


def _gates(verdicts: Verdicts) -> dict[str, int]:
    """How many images each gate rejected (an image may fail several)."""
    gates = [part.split(":")[0] for reason in verdicts.reason_S for part in str(reason).split("; ") if part]
    return {gate: gates.count(gate) for gate in sorted(set(gates))}


def _reviewed(context: StageContext, params: Params, samples: pa.Table) -> StrArray | None:
    """A person's verdicts in the order of the samples ("" without one); draws the sheet they are asked on."""
    review = params.review
    if review is None:
        return None
    names = samples["sample_id"].to_pylist()
    images = np.load(context.inputs["synthesize"] / "images.npy", mmap_mode="r", allow_pickle=False)
    captions = [f"{dx} {name}" for dx, name in zip(samples["dx"].to_pylist(), names, strict=True)]
    if names:
        contact_sheet([np.asarray(image) for image in images], captions, context.out / "review.png")
    return strings([review.get(name, "") for name in names])


def _judge(
    context: StageContext, params: Params, judge: Mapping[str, Any], dx_S: StrArray, parent_S: StrArray
) -> Judged:
    """Let every image be judged by folds that have not seen its parent (``judge_panel``), and find its nearest train image.

    Where a fold's gradient has guided synthesis (``guided``) it is left out: it would only agree with itself.
    """
    images = context.inputs["synthesize"] / "images.npy"
    count = len(np.load(images, mmap_mode="r", allow_pickle=False))
    if count != len(dx_S):
        raise DataError(
            f"{images} holds {count} images for {len(dx_S)} rows of conditioning.parquet; rerun synthesize"
        )
    rows_S = np.arange(count, dtype=np.int64)
    workers = judge_workers(context, images, guided=params.guided)
    known = workers[0].weights
    classes = read_meta(known).classes
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(dx) for dx in dx_S} - set(classes))
    if unknown:
        raise DataError(f"{known.name} knows {', '.join(classes)}, not {', '.join(unknown)}; rerun the judge")
    levels_SLD = embed_rows(
        context,
        rows_S,
        "embed synthetic images",
        tokens=params.embedder.tokens,
        cut=params.data,
        images=images,
    )
    fused_SF = fuse(levels_SLD, params.embedder.fuse)
    train_NF = np.load(context.inputs["index"] / "fused.npy", allow_pickle=False)
    distance_S, train_S = nearest(fused_SF, train_NF)
    ids = pd.read_parquet(context.inputs["index"] / "ids.parquet", columns=["image_id"])
    label_S = np.array([position[str(dx)] for dx in dx_S], dtype=np.int64)
    panels = judge_panel.panels(context, workers, parent_S)
    return Judged(
        classes=classes,
        prob_SC=judge_panel.probabilities(context, panels, count, len(classes)),
        real_recall_S=judge_panel.real_recall(panels, label_S, classes, judge),
        label_S=label_S,
        nearest_id_S=strings(ids["image_id"].tolist())[train_S],
        distance_S=distance_S,
    )


def _write_table(
    context: StageContext, policy: str, samples: pa.Table, judged: Judged, verdicts: Verdicts
) -> None:
    """Write synthetic.parquet: conditioning's columns, verdict, figures behind it, and provenance."""
    count = samples.num_rows
    names = np.array(judged.classes, dtype=np.str_)
    checkpoint = _read_json(context.inputs["synthesize"] / "synthesis.json")["checkpoint"]
    columns = {
        "file": pa.array([f"synthetic/{name}.png" for name in samples["sample_id"].to_pylist()], pa.string()),
        "accepted": pa.array(verdicts.accepted_S.tolist(), pa.bool_()),
        "reasons": pa.array(verdicts.reason_S.tolist(), pa.string()),
        "judge_p": pa.array(judged.prob_SC[np.arange(count), judged.label_S].tolist(), pa.float64()),
        "judge_predicted": pa.array(names[judged.prob_SC.argmax(axis=1)].tolist(), pa.string()),
        "nearest_train_id": pa.array(judged.nearest_id_S.tolist(), pa.string()),
        "nearest_train_distance": pa.array(judged.distance_S.tolist(), pa.float64()),
        "policy": pa.array([policy] * count, pa.string()),
        "checkpoint": pa.array([str(checkpoint)] * count, pa.string()),
    }
    for name, column in columns.items():
        samples = samples.append_column(name, column)
    pq.write_table(samples, context.out / "synthetic.parquet")


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


STAGE = base.Stage(
    name="accept",
    version=3,
    params=Params,
    run=run,
    inputs=("images", "split", "synthesize", "condition", "judge", "embedder", "index"),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.samples),
    files={
        "synthetic.parquet": "conditioning's columns, file, accepted, reasons, judge_p, judge_predicted, nearest_train_id, "
        "nearest_train_distance, policy, checkpoint",
        "accept.json": "agreement against what is expected, per class, rejections by gate, memorized",
        "review.png": "the sheet a person is asked on, where the policy asks",
    },
)
