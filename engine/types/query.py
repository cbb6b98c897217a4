"""What query policies see and decide: which unlabelled images to ask about.

Shape legend: N unlabelled candidates, M labelled images, A images asked about without a label, C classes, F features,
T draws (or members of a committee).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.types.arrays import FloatArray, IntArray, StrArray, same_length


@dataclass(frozen=True, kw_only=True)
class QueryState:
    """What a query policy may look at: N unlabelled candidates, and the M labelled images, those bought before among them.

    At most one image per ``group`` (a lesion or a patient) is asked about; an image of group "" is a group of its own.
    ``prob_NC`` is calibrated, its columns follow ``classes``. ``feature_NF`` and ``labelled_feature_MF`` are the
    classifier's last hidden layer, ``labelled_label_M`` indices of classes. ``unlabelled_asked_AF`` are the features of
    images that were asked about before and have no label: open, unsure or in conflict; None: there are none.
    ``draws_TNC`` holds Monte-Carlo-dropout or committee probabilities where the policy asked for them (else None).
    ``total`` labels are to be asked for; ``round`` counts from 1; ``malignant`` names the malignant classes (may be empty).
    """

    image_id: StrArray
    group: StrArray
    classes: tuple[str, ...]
    prob_NC: FloatArray
    feature_NF: FloatArray
    labelled_feature_MF: FloatArray
    labelled_label_M: IntArray
    total: int
    round: int
    draws_TNC: FloatArray | None = None
    malignant: tuple[str, ...] = ()
    unlabelled_asked_AF: FloatArray | None = None

    def __post_init__(self) -> None:
        same_length(self, ["image_id", "group", "prob_NC", "feature_NF"])
        same_length(self, ["labelled_feature_MF", "labelled_label_M"])
        if self.draws_TNC is not None and self.draws_TNC.shape[1] != len(self):
            raise ValueError(
                f"QueryState: draws_TNC are of {self.draws_TNC.shape[1]} images, not {len(self)}"
            )

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def covered_KF(self) -> FloatArray:
        """Features of all images that are labelled or were asked about: where no further question is needed."""
        if self.unlabelled_asked_AF is None:
            return self.labelled_feature_MF
        return np.concatenate([self.labelled_feature_MF, self.unlabelled_asked_AF])


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which candidates are asked about, and what the policy holds each of the N worth (higher is better; its own unit).

    ``chosen`` are positions among the candidates, the one to ask about first on top: min(total, number of groups) of
    them, each of another group.
    """

    chosen: IntArray
    value_N: FloatArray
