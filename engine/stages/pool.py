"""Stage ``pool``: lays out what one arm trains on: the classifier's own images, and what the arm adds, class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from engine.arms import ARMS, Adds, Arm
from engine.artifacts import hard_cases, neighbours, synthesized, synthetic
from engine.artifacts import pool as pool_file
from engine.artifacts.pool import Pool, PoolFacts, facts_of, joined, rows_of
from engine.artifacts.synthetic import Judgement
from engine.config import Config
from engine.errors import DataError, StageError
from engine.parts.context import StageContext, numbered
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.matched_rounds import Accepted, matched
from engine.parts.own_images import own_sets
from engine.parts.soft_labels import Floats, SoftLabels, judged_out_of_fold, judged_samples
from engine.stages import base
from engine.training.plan import derive_seed
from engine.types import UNLABELLED, ImageArray, IntArray, StrArray, strings


class Params(base.Params):
    """Which arm's pool, and how many images per class it may add."""

    optional: ClassVar[frozenset[str]] = frozenset({"train_sets", "total", "by_round", "labels", "answers"})

    arm: str
    counts: dict[str, int]
    """Images to add per class; empty for arms whose additions are not matched, class by class, to those of ``hard``."""
    train_sets: list[int] | None = None
    """The training sets that are the classifier's own. None: all of train."""
    total: int | None = None
    """Most images to add in all. None: no bound beside ``counts``."""
    by_round: list[dict[str, int]] | None = None
    """``counts`` (or ``total``, by class) of each round, for arms that add synthetic images. None: there is one round."""
    labels: SoftLabels | None = None
    """How added images are labelled and weighted. None: by their class, with weight 1."""
    answers: dict[str, str] | None = None
    """The class that was given to each unlabelled image asked about; they are the classifier's own. None: there are none."""

    @classmethod
    def of(
        cls,
        config: Config,
        arm: str,
        accepted: Sequence[Mapping[str, int]],
        answers: Mapping[str, str] | None = None,
    ) -> Params:
        """Return the pool of ``arm``.

        Args:
            config: the run's.
            arm: whose pool.
            accepted: what ``hard`` has accepted per class, by rising round.
            answers: class by image of what was labelled for the arm so far.
        """
        kind = ARMS[arm].matched
        counts: Counter[str] = Counter()
        for of_round in accepted:
            counts.update(of_round)
        by_round = kind and ARMS[arm].adds == "synthetic images" and len(accepted) > 1
        return cls(
            arm=arm,
            counts=dict(sorted(counts.items())) if kind == "class" else {},
            total=sum(counts.values()) if kind == "total" else None,
            by_round=[dict(sorted(of_round.items())) for of_round in accepted] if by_round else None,
            train_sets=own_sets(config),
            labels=SoftLabels.of(config, arm),
            answers=dict(sorted(answers.items())) if answers else None,
        )


def run(context: StageContext, params: Params) -> None:
    """Fill ``pool.parquet`` (source, row, image_id, dx, origin), ``extra.npy`` and ``pool.json``.

    ``row`` is a row of images.npy (source "data") or of extra.npy (source "extra"); the classifier's own images come
    first. Soft labels and weights other than 1 have a column each (label, weight).

    Raises:
        StageError: the arm is not known.
        DataError: an input folder is inconsistent.
    """
    if params.arm not in ARMS:
        raise StageError(f"arm: {params.arm!r} has no pool; the arms are {', '.join(ARMS)}")
    answers = params.answers or {}
    dataset = open_dataset(context.inputs["images"], context.inputs["split"], unlabelled=bool(answers))
    arm = ARMS[params.arm]
    task = Task(context=context, dataset=dataset, arm=arm, params=params)
    addition = ADDITIONS[arm.adds](task)
    own = real_rows(dataset, task.own if arm.own else np.zeros(0, dtype=np.int64))
    pool = joined([own, _labelled(dataset, answers), addition.rows])
    facts = facts_of(pool, addition.rows, dataset.classes, arm.name, params.counts)
    pool_file.write(pool, addition.images, facts, context.out, idle_round=addition.idle_round)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One pool to lay out: the stage's context and params, the data set, the arm."""

    context: StageContext
    dataset: Dataset
    arm: Arm
    params: Params

    @property
    def own(self) -> IntArray:
        """Positions of the classifier's own images."""
        return self.dataset.own(self.params.train_sets)

    def inputs(self, role: str) -> list[Path]:
        """Return the folders ``<role>_<round>`` by rising round."""
        return numbered(self.context.inputs, role)


def real_rows(dataset: Dataset, positions: IntArray, dx: StrArray | None = None) -> Pool:
    """Return pool rows of the given positions of ``dataset.table``; ``dx``: their classes, where the table has none."""
    table = dataset.table.take(positions)
    return rows_of("data", dataset.rows[positions], table.image_id, table.dx if dx is None else dx, "real")


def _labelled(dataset: Dataset, answers: Mapping[str, str]) -> Pool:
    """Return the rows of unlabelled images that were given a class (DataError: one is no unlabelled image)."""
    pool = dataset.where(UNLABELLED)
    known = dict(zip(dataset.table.image_id[pool].tolist(), pool.tolist(), strict=True))
    if absent := [image for image in answers if image not in known]:
        raise DataError(
            f"{absent[0]} was labelled, but is no unlabelled image of this split; withdraw the answer"
        )
    positions = np.array([known[image] for image in answers], dtype=np.int64)
    return real_rows(dataset, positions, strings(list(answers.values())))


def repeat_evenly(positions: IntArray, count: int, seed: int) -> IntArray:
    """Return ``count`` of ``positions``, each floor(count / n) times and a seeded draw of them once more."""
    whole, rest = divmod(count, len(positions))
    once_more = np.random.default_rng(seed).permutation(len(positions))[:rest]
    return np.concatenate([np.tile(positions, whole), positions[np.sort(once_more)]]).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What an arm adds: rows, the images of those that are synthetic, and whether a round gave none of these."""

    rows: Pool
    images: ImageArray
    idle_round: bool = False


def _real(task: Task, rows: Pool) -> Addition:
    return Addition(rows=rows, images=_no_images(task.dataset))


def _nothing(task: Task) -> Addition:
    return _real(task, real_rows(task.dataset, np.zeros(0, dtype=np.int64)))


def _mine_split(task: Task) -> Addition:
    return _real(task, real_rows(task.dataset, task.dataset.where("mine")))


def _own_again(task: Task) -> Addition:
    return _real(task, _repeated(task, task.own))


def _own_softly(task: Task) -> Addition:
    """The classifier's own images again, labelled by the fold of the judge that held each one's lesion out."""
    rows = _repeated(task, task.own)
    prob_NC = judged_out_of_fold(task.context.inputs["judge"], rows.image_id, task.dataset.classes)
    return _real(task, _taught(task, rows, prob_NC))


def _taught(task: Task, rows: Pool, prob_NC: Floats | None) -> Pool:
    """Return added rows with the labels and weights of the params; ``prob_NC`` is needed for soft ones alone."""
    how = task.params.labels
    if how is None:
        return rows
    label_N = task.dataset.indices(rows.dx)
    return replace(
        rows,
        label_NC=None if prob_NC is None else how.labels(prob_NC, label_N),
        weight_N=np.full(len(rows), how.weight),
    )


def _mined(task: Task) -> Addition:
    ids = [name for folder in task.inputs("mine") for name in hard_cases.read_ids(folder).tolist()]
    positions = _positions(task.dataset, ids, hard_cases.FILE)
    return _real(task, _repeated(task, positions))


def _neighbours(task: Task) -> Addition:
    ids = [name for folder in task.inputs("condition") for name in neighbours.read_ids(folder)]
    positions = _positions(task.dataset, ids, neighbours.FILE)
    return _real(task, _repeated(task, positions))


def _repeated(task: Task, positions: IntArray) -> Pool:
    """Repeat the given images of each class to ``counts``; a class without any gets none."""
    chosen = [np.zeros(0, dtype=np.int64)]
    for dx, count in sorted(task.params.counts.items()):
        members = positions[task.dataset.table.dx[positions] == dx]
        if len(members):
            chosen.append(repeat_evenly(members, int(count), derive_seed(task.context.seed, "pool", dx)))
    return real_rows(task.dataset, np.concatenate(chosen))


def _positions(dataset: Dataset, image_ids: Iterable[str], file: str) -> IntArray:
    """Return the sorted positions of different images, none from val (nor from test, but for mining there)."""
    names = np.array(sorted(set(image_ids)), dtype=np.str_)
    try:
        positions = dataset.positions(names)
    except KeyError as error:
        raise DataError(
            f"{file} names image_id {error} which is not in split.parquet; run that stage again"
        ) from error
    if np.any(dataset.table.split[positions] == "val"):
        raise DataError(f"{file} names images of val, which never train; run the mine stage again")
    return np.sort(positions)


def _synthetic(task: Task) -> Addition:
    """Accepted images of every round so far, in order; where the arm is matched, as many as ``hard`` has of each round.

    Surplus images are dropped round-robin over parents, as ``accept`` does it for ``hard``.
    """
    pools, images = [_nothing(task).rows], [_no_images(task.dataset)]
    folders = list(zip(task.inputs("accept"), task.inputs("synthesize"), strict=True))
    tables = [synthetic.read_judgement(accept) for accept, _ in folders]
    for (accept, synthesize), table, kept in zip(folders, tables, _kept(task, tables), strict=True):
        made = synthesized.read(synthesize)
        if len(table) != len(made):
            raise DataError(
                f"synthetic.parquet has {len(table)} rows but images.npy {len(made)} images; run accept again"
            )
        row_N = sum(len(part) for part in images) + np.arange(len(kept))
        rows = rows_of("extra", row_N, table.sample_id[kept], table.label_S[kept], "synthetic")
        pools.append(_taught(task, rows, _judged(task, accept, kept)))
        images.append(made[kept])
    idle = any(len(rows) == 0 for rows in pools[1:])
    return Addition(rows=joined(pools), images=np.concatenate(images), idle_round=idle)


def _kept(task: Task, tables: Sequence[Judgement]) -> list[IntArray]:
    """Return per round the rows of accepted images that the arm's matching to ``hard`` leaves (StageError: other rounds)."""
    kept = [np.flatnonzero(table.accepted_S) for table in tables]
    params, by_class = task.params, task.arm.matched == "class"
    if not tables or not (by_class or task.arm.matched == "total"):
        return kept
    wanted = params.by_round or [params.counts if by_class else {"": params.total or 0}]
    if len(wanted) != len(tables):
        raise StageError(f"by_round: is for {len(wanted)} rounds, and {len(tables)} have images; run again")
    rounds = [
        Accepted(
            rows=rows,
            kind_S=table.label_S if by_class else strings([""] * len(table)),
            parent_S=table.parent_image_id,
        )
        for rows, table in zip(kept, tables, strict=True)
    ]
    return matched(rounds, wanted if by_class else [{"": sum(counts.values())} for counts in wanted])


def _judged(task: Task, accept: Path, kept: IntArray) -> Floats | None:
    """Return the judge's calibrated probabilities of the samples ``kept``; None where labels are hard."""
    if task.params.labels is None or not task.params.labels.soft:
        return None
    return judged_samples(accept, task.dataset.classes)[kept]


def _no_images(dataset: Dataset) -> ImageArray:
    return np.zeros((0, *dataset.images_NHWC.shape[1:]), dtype=np.uint8)


ADDITIONS: Mapping[Adds, Callable[[Task], Addition]] = {
    "nothing": _nothing,
    "mine split": _mine_split,
    "own images": _own_again,
    "own images softly": _own_softly,
    "mined images": _mined,
    "neighbours": _neighbours,
    "synthetic images": _synthetic,
}

STAGE = base.Stage(
    name="pool",
    version=3,
    params=Params,
    run=run,
    inputs=("images", "split"),
    optional=("accept_#", "synthesize_#", "mine_#", "condition_#", "judge"),
    files=(pool_file.SCHEMA, pool_file.EXTRA, PoolFacts),
)
