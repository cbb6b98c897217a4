"""What the judge makes of a round's images, gated or not: the figures of ``accept.json``.

Shape legend: S synthetic images, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.artifacts.accept import AcceptFacts, ClassYield, Memorized
from engine.artifacts.judge import JudgeFacts
from engine.types import BoolArray, IntArray, StrArray, Verdicts

COPY_PERCENTILE: Final = 1
"""A sample nearer to a train image than this percentile of distances between different lesions counts as a copy."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the gates look at: judge probabilities and nearest train image of each of S images.

    The gates see ``prob_SC``, at temperature 1; ``calibrated_SC`` are at the judge's. ``real_recall_S``: how often those who
    judge an image are right on unseen real lesions of its class, NaN: unknown.
    """

    classes: tuple[str, ...]
    prob_SC: npt.NDArray[np.float64]
    calibrated_SC: npt.NDArray[np.float64]
    real_recall_S: npt.NDArray[np.float64]
    label_S: IntArray
    nearest_id_S: StrArray
    distance_S: npt.NDArray[np.float64]

    @property
    def agrees_S(self) -> BoolArray:
        """Whether the judge's first choice is the intended class."""
        return np.asarray(self.prob_SC.argmax(axis=1) == self.label_S)

    @property
    def predicted_S(self) -> StrArray:
        """The judge's first choice."""
        names: StrArray = np.array(self.classes, dtype=np.str_)
        return np.asarray(names[self.prob_SC.argmax(axis=1)])

    @property
    def own_p_S(self) -> npt.NDArray[np.float64]:
        """The judge's probability of the intended class."""
        return self.prob_SC[np.arange(len(self.label_S)), self.label_S]


def accept_facts(
    judged: Judged,
    verdicts: Verdicts,
    parent_S: StrArray,
    judge: JudgeFacts,
    copy_distance: float,
) -> AcceptFacts:
    """Return accept.json: how often the judge takes ungated samples for their class, against unseen real lesions.

    ``expected_agreement`` is how often those who judge the samples are right on real ones (``real_recall_S``), averaged over
    samples; ``agreement_ratio`` is agreement over it, both on the samples where it is known. Undefined figures are None.
    ``copy_distance`` is the distance to a train image under which a sample counts as a copy.
    """
    recall_S = judged.real_recall_S
    known_S = np.isfinite(recall_S)
    expected = float(recall_S[known_S].mean()) if known_S.any() else None
    return AcceptFacts(
        agreement=float(judged.agrees_S.mean()) if len(judged.label_S) else None,
        expected_agreement=expected,
        agreement_ratio=float(judged.agrees_S[known_S].mean()) / expected if expected else None,
        per_class=class_yields(judged, verdicts, parent_S, judge.val_recall),
        rejected=rejections(verdicts),
        classes=judged.classes,
        memorized=memorized(judged.distance_S, copy_distance),
        judge_temperature=judge.temperature,
        judge_val=judge.val,
    )


def class_yields(
    judged: Judged, verdicts: Verdicts, parent_S: StrArray, val_recall: Mapping[str, float | None]
) -> dict[str, ClassYield]:
    """Return how many images of each class were made, in all and per parent, and accepted, and the judge's agreement."""
    found = {}
    for position, dx in enumerate(judged.classes):
        own_S = judged.label_S == position
        found[dx] = ClassYield(
            generated=int(own_S.sum()),
            accepted=int(verdicts.accepted_S[own_S].sum()),
            agreement=float(judged.agrees_S[own_S].mean()) if own_S.any() else None,
            val_recall=val_recall.get(dx),
            per_parent=np.sort(np.unique(parent_S[own_S], return_counts=True)[1])[::-1].tolist(),
        )
    return found


def memorized(distance_S: npt.NDArray[np.float64], threshold: float) -> Memorized:
    """Return how many samples, before any gate, come nearer to a train image than ``threshold`` (rate None: no sample)."""
    count = int((distance_S < threshold).sum())
    return Memorized(
        count=count,
        rate=count / len(distance_S) if len(distance_S) else None,
        threshold=threshold,
        percentile=COPY_PERCENTILE,
    )


def rejections(verdicts: Verdicts) -> dict[str, int]:
    """Return how many images each gate rejected (an image may fail several)."""
    gates = [part.split(":")[0] for reason in verdicts.reason_S for part in str(reason).split("; ") if part]
    return {gate: gates.count(gate) for gate in sorted(set(gates))}
