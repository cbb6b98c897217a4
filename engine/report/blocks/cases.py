"""The hard cases of the report: which are shown, and each with its neighbours and the images made from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.artifacts.run_files import RoundFiles, RunFiles
from engine.artifacts.run_layout import THUMBNAILS
from engine.artifacts.synthesized import PICTURES
from engine.report.blocks.record import reason_group
from engine.report.pictures import inside, picture
from engine.types import StrArray

MAX_CASES = 36
"""Most hard cases on a page, all rounds together."""
FIRST_CASES = 4
"""Those that stand open, and are printed; the others are folded."""
MAX_SAMPLES = 6
"""Most synthetic images shown a case."""
MAX_NEIGHBOURS = 5
SIDE = 112
"""Pixels a side of embedded pictures; smaller ones are not enlarged."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A retrieved train image: its cosine similarity and thumbnail (None where the run keeps none)."""

    image_id: str
    similarity: float
    uri: str | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A synthetic image made from the case, with the verdict on it."""

    sample_id: str
    uri: str | None
    accepted: bool
    reason: str
    group: str
    judge_p: float | None
    value: float | None = None
    distance: float | None


@dataclass(frozen=True, kw_only=True)
class Case:
    """A hard case; ``before`` and ``after`` are the probabilities of its true class around the round's training."""

    round: int
    image_id: str
    true: str
    predicted: str
    score: float
    uri: str | None
    before: float | None
    after: float | None
    neighbours: tuple[Neighbour, ...]
    samples: tuple[Sample, ...]
    n_samples: int
    n_accepted: int

    @property
    def verdicts(self) -> str:
        """Which verdicts the shown images have: words for the page's filter."""
        kinds = {"accepted" if sample.accepted else "rejected" for sample in self.samples}
        return " ".join(sorted(kinds)) or "none"


def cases_of(run: RunFiles) -> tuple[list[Case], int]:
    """Return the cases shown and how many the run mined in all.

    A round shows its share of MAX_CASES: the hardest of each class in turn, those with a thumbnail first, so that a
    frequent class cannot crowd out the others.
    """
    mined = [entry for entry in run.rounds if entry.hard_cases is not None and len(entry.hard_cases)]
    total = sum(len(entry.hard_cases) for entry in mined if entry.hard_cases is not None)
    share = max(1, MAX_CASES // max(1, len(mined)))
    cases: list[Case] = []
    for entry in mined:
        cases += _round_cases(run, entry, share)
    return cases, total


def pick(dx_M: StrArray, has_picture: Sequence[bool], count: int) -> list[int]:
    """Return the rows to show, in the order they were mined: class by class in turn, pictures first.

    Args:
        dx_M: class of each hard case, hardest first.
        has_picture: whether each row's image has a thumbnail.
        count: most rows to pick.
    """
    ranked = sorted(range(len(dx_M)), key=lambda row: (not has_picture[row], row))
    turn: dict[str, int] = {}
    keyed = []
    for row in ranked:
        dx = str(dx_M[row])
        turn[dx] = turn.get(dx, 0) + 1
        keyed.append((not has_picture[row], turn[dx], row))
    return sorted(row for _, _, row in sorted(keyed)[:count])


def _round_cases(run: RunFiles, entry: RoundFiles, count: int) -> list[Case]:
    mined = entry.hard_cases
    if mined is None:
        return []
    thumbnails = [_thumbnail(run, entry, image_id) for image_id in mined.image_id.tolist()]
    previous = run.round(entry.number - 1)
    before, after = (_true_probability(files) for files in (previous, entry))
    samples = _by_parent(entry.synthetic)
    neighbours = dict(entry.neighbours.rows()) if entry.neighbours is not None else {}
    cases = []
    for row in pick(mined.true, [path is not None for path in thumbnails], count):
        image_id, path = str(mined.image_id[row]), thumbnails[row]
        made = samples.get(image_id, [])
        cases.append(
            Case(
                round=entry.number,
                image_id=image_id,
                true=str(mined.true[row]),
                predicted=str(mined.predicted[row]),
                score=float(mined.score[row]),
                uri=picture(path, SIDE) if path else None,
                before=before.get(image_id),
                after=after.get(image_id),
                neighbours=_neighbours(run, entry, neighbours.get(image_id, [])),
                samples=tuple(_sample(entry, record) for record in _mixed(made)),
                n_samples=len(made),
                n_accepted=sum(bool(record["accepted"]) for record in made),
            )
        )
    return cases


def _thumbnail(run: RunFiles, entry: RoundFiles, image_id: str) -> Path | None:
    for folder in (entry.folder / THUMBNAILS, run.path / THUMBNAILS):
        found = inside(folder, f"{image_id}.png")
        if found:
            return found
    return None


def _true_probability(entry: RoundFiles | None) -> dict[str, float]:
    """Probability of the true class of each predicted image."""
    if entry is None or entry.predictions is None:
        return {}
    found = entry.predictions
    prob_N = found.prob_NC[np.arange(len(found)), found.label_N]
    return dict(zip(found.image_id.tolist(), prob_N.tolist(), strict=True))


def _by_parent(frame: pd.DataFrame | None) -> dict[str, list[Mapping[str, Any]]]:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    if frame is not None:
        for record in frame.to_dict("records"):
            grouped.setdefault(str(record["parent_image_id"]), []).append(
                {str(k): v for k, v in record.items()}
            )
    return grouped


def _mixed(made: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most MAX_SAMPLES images: accepted and rejected in equal parts where both exist, accepted first, the best first."""
    best = sorted(made, key=lambda record: -(_number(record.get("value")) or 0.0))
    accepted = [record for record in best if record["accepted"]]
    rejected = [record for record in best if not record["accepted"]]
    half = MAX_SAMPLES // 2
    n_accepted = min(len(accepted), max(half, MAX_SAMPLES - len(rejected)))
    return [*accepted[:n_accepted], *rejected[: MAX_SAMPLES - n_accepted]]


def _sample(entry: RoundFiles, record: Mapping[str, Any]) -> Sample:
    name = str(record["file"])
    path = inside(entry.folder, name) or inside(entry.folder / PICTURES, Path(name).name)
    accepted = bool(record["accepted"])
    return Sample(
        sample_id=str(record["sample_id"]),
        uri=picture(path, SIDE) if path else None,
        accepted=accepted,
        reason="" if accepted else str(record["reasons"]),
        group="" if accepted else reason_group(record["reasons"]),
        judge_p=_number(record["judge_p"]),
        value=_number(record.get("value")),
        distance=_number(record["nearest_train_distance"]),
    )


def _number(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _neighbours(
    run: RunFiles, entry: RoundFiles, found: Sequence[tuple[str, float]]
) -> tuple[Neighbour, ...]:
    shown = []
    for image_id, similarity in found[:MAX_NEIGHBOURS]:
        path = _thumbnail(run, entry, image_id)
        shown.append(
            Neighbour(image_id=image_id, similarity=similarity, uri=picture(path, SIDE) if path else None)
        )
    return tuple(shown)
