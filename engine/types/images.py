"""What an image is in the records: its row, and what a classifier predicts for it.

Shape legend: N images, C classes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.types.arrays import BoolArray, FloatArray, IntArray, StrArray, same_length

SPLITS: Final = ("train", "mine", "val", "test")
"""The four parts of a split, in the order they are reported."""
UNLABELLED: Final = "unlabelled"
"""The part of images without a diagnosis: not learned from by any classifier, nor decided or reported on."""


@dataclass(frozen=True, kw_only=True)
class LesionTable:
    """One row an image, N rows sorted by ``image_id``; several rows may show one lesion.

    ``dx`` is "" where the diagnosis is not known. ``split`` is one of SPLITS, UNLABELLED, or "" before splitting;
    ``origin`` is "real" or "synthetic". Unknown age is NaN, unknown text "". ``skin_type`` is the Fitzpatrick type as the
    data set writes it. ``path`` and ``mask_path`` are "" where an image has no file of its own (npz, phantoms).
    """

    image_id: StrArray
    lesion_id: StrArray
    patient_id: StrArray
    dx: StrArray
    split: StrArray
    origin: StrArray
    age: FloatArray
    sex: StrArray
    localization: StrArray
    skin_type: StrArray
    path: StrArray
    mask_path: StrArray

    def __post_init__(self) -> None:
        same_length(self, [f.name for f in dataclasses.fields(self)])

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names present, sorted."""
        return tuple(sorted({str(v) for v in self.dx} - {""}))

    @property
    def labelled_N(self) -> BoolArray:
        """Which images have a diagnosis."""
        return np.asarray(self.dx != "", dtype=np.bool_)

    def take(self, rows: npt.NDArray[Any]) -> LesionTable:
        """Return the given rows (integer or boolean index), in the order given."""
        return LesionTable(**{f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self)})

    def replace(self, **columns: Any) -> LesionTable:
        """Return a copy with the given columns exchanged."""
        return dataclasses.replace(self, **columns)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Calibrated class probabilities of N images; ``prob_NC`` rows sum to 1, columns follow ``classes``."""

    image_id: StrArray
    classes: tuple[str, ...]
    prob_NC: FloatArray
    label_N: IntArray
    split: StrArray

    def __post_init__(self) -> None:
        same_length(self, ["image_id", "prob_NC", "label_N", "split"])

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def predicted_N(self) -> IntArray:
        """Index of the most probable class."""
        return np.asarray(np.argmax(self.prob_NC, axis=1), dtype=np.int64)

    def take(self, rows: npt.NDArray[Any]) -> Predictions:
        """Return the given rows (integer or boolean index)."""
        return dataclasses.replace(
            self,
            image_id=self.image_id[rows],
            prob_NC=self.prob_NC[rows],
            label_N=self.label_N[rows],
            split=self.split[rows],
        )
