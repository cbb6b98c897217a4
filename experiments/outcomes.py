"""What one replicate of the proof leaves behind, image by image: enough to draw lesions again, small enough to be committed.

Of every scored image the predicted class is kept, and whether it is called malignant, and melanoma, each at its own
operating point (fixed on val: 90 % specificity for malignant, 95 % sensitivity for melanoma, unless the config differs).

Shape legend: B weightings (bootstrap draws), N images, L lesions, C classes, K summed quantities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.classifier.calibration import Calibration
from engine.errors import DataError
from engine.evaluation import metrics
from engine.evaluation.metrics import Floats, divide, lesion_sums, mean_defined
from engine.evaluation.scoring import malignant_score
from engine.stages.evaluate import read_predictions
from engine.types import BoolArray, IntArray

PRIMARY = "malignant_sensitivity"
ENDPOINTS = (PRIMARY, "malignant_specificity", "melanoma_sensitivity", "accuracy", "balanced_accuracy")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""One letter a class: a line of text holds the labels of all images."""


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The scored images, in the order of their ids: class and lesion of each; ``malignant`` are class positions."""

    classes: tuple[str, ...]
    malignant: tuple[int, ...]
    label_N: IntArray
    lesion_N: IntArray
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Return them as text."""
        return {
            "classes": list(self.classes),
            "malignant": list(self.malignant),
            "labels": _letters(self.label_N),
            "lesions": " ".join(map(str, self.lesion_N.tolist())),
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Cases:
        """Read them back."""
        return cls(
            classes=tuple(found["classes"]),
            malignant=tuple(found["malignant"]),
            label_N=_positions(found["labels"]),
            lesion_N=np.array(found["lesions"].split(), dtype=np.int64),
            digest=found["digest"],
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one classifier said of the cases: the most probable class, and whether it calls the image malignant.

    ``melanoma_N``: whether it calls the image melanoma; None where val fixed no operating point for it.
    """

    predicted_N: IntArray
    called_N: BoolArray
    melanoma_N: BoolArray | None = None

    def to_json(self) -> dict[str, str | None]:
        """Return it as text."""
        return {
            "predicted": _letters(self.predicted_N),
            "called": _bits(self.called_N),
            "melanoma": None if self.melanoma_N is None else _bits(self.melanoma_N),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Outcome:
        """Read it back."""
        melanoma = found["melanoma"]
        return cls(
            predicted_N=_positions(found["predicted"]),
            called_N=_flags(found["called"]),
            melanoma_N=None if melanoma is None else _flags(melanoma),
        )


def read_replicate(predict: Path, split: Path, part: str) -> tuple[Cases, Outcome]:
    """Read a finished ``predict`` stage's images of one part.

    Raises:
        DataError: the part is not in the run (it is sealed), or val fixed no operating point.
    """
    predictions = read_predictions(predict / "predictions.parquet")
    calibration = Calibration.read(predict)
    chosen = predictions.take(np.flatnonzero(predictions.split == part))
    chosen = chosen.take(np.argsort(chosen.image_id))
    if len(chosen) == 0:
        raise DataError(f"{predict}: no prediction of {part}; the run was made with it sealed")
    if calibration.threshold is None:
        raise DataError(f"{predict}: val fixed no operating point; it needs malignant and benign lesions")
    frame = pd.read_parquet(split / "split.parquet", columns=["image_id", "lesion_id"]).set_index("image_id")
    lesions = frame.loc[chosen.image_id.tolist(), "lesion_id"].to_numpy()
    columns = [k for k, name in enumerate(chosen.classes) if name in calibration.malignant]
    cases = Cases(
        classes=chosen.classes,
        malignant=tuple(columns),
        label_N=chosen.label_N,
        lesion_N=np.unique(lesions, return_inverse=True)[1].astype(np.int64),
        digest=hashlib.sha256("\n".join(chosen.image_id).encode()).hexdigest()[:16],
    )
    called_N = malignant_score(chosen.prob_NC, columns) >= calibration.threshold
    melanoma_N = None
    if calibration.melanoma_threshold is not None and calibration.melanoma is not None:
        own = chosen.classes.index(calibration.melanoma)
        melanoma_N = malignant_score(chosen.prob_NC, [own]) >= calibration.melanoma_threshold
    return cases, Outcome(predicted_N=chosen.predicted_N, called_N=called_N, melanoma_N=melanoma_N)


def figures(cases: Cases, outcome: Outcome, weights_BL: Floats) -> dict[str, Floats]:
    """Return every endpoint (B,) under weightings of the lesions; undefined is NaN."""
    malignant_N = np.isin(cases.label_N, cases.malignant)
    melanoma_N = cases.label_N == (cases.classes.index("mel") if "mel" in cases.classes else -1)
    called_N, count = outcome.called_N, len(cases.classes)
    known = outcome.melanoma_N is not None
    pointed_N = outcome.melanoma_N if outcome.melanoma_N is not None else np.zeros_like(melanoma_N)
    ratios = {
        PRIMARY: (malignant_N & called_N, malignant_N),
        "malignant_specificity": (~malignant_N & ~called_N, ~malignant_N),
        "melanoma_sensitivity": (melanoma_N & pointed_N, melanoma_N & np.full(len(melanoma_N), known)),
    }
    columns = [column for pair in ratios.values() for column in pair]
    pieces = np.column_stack(
        [*columns, metrics.confusion_columns(cases.label_N, outcome.predicted_N, count)]
    ).astype(np.float64)
    sums_BK = weights_BL @ lesion_sums(pieces, cases.lesion_N, weights_BL.shape[1])
    confusion_BCC = sums_BK[:, len(columns) :].reshape(-1, count, count)
    return {
        **{name: divide(sums_BK[:, 2 * k], sums_BK[:, 2 * k + 1]) for k, name in enumerate(ratios)},
        "accuracy": metrics.accuracy(confusion_BCC),
        "balanced_accuracy": mean_defined(metrics.sensitivity(confusion_BCC)),
    }


def point_figures(cases: Cases, outcome: Outcome) -> dict[str, float | None]:
    """Return every endpoint on the cases as they are; undefined is None."""
    found = figures(cases, outcome, np.ones((1, int(cases.lesion_N.max()) + 1)))
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in found.items()}


def beside(entry: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return what is reported beside the endpoints, of one object of report.json: with intervals, nothing to resample."""
    found = entry[part]
    kept = {name: found[name] for name in ("ece", "auc", "macro_f1", "challenging", "rest") if name in found}
    per_class = {
        dx: {name: figures[name] for name in ("sensitivity", "specificity", "n")}
        for dx, figures in found["per_class"].items()
    }
    counts = ("n_real", "n_generated", "n_accepted", "optimizer_steps", "seconds")
    return {"round": entry["round"], **{k: entry[k] for k in counts}, **kept, "per_class": per_class}


def _bits(flag_N: BoolArray) -> str:
    return "".join("1" if flag else "0" for flag in flag_N)


def _flags(bits: str) -> BoolArray:
    return np.array([bit == "1" for bit in bits], dtype=np.bool_)


def _letters(position_N: IntArray) -> str:
    return "".join(LETTERS[position] for position in position_N.tolist())


def _positions(letters: str) -> IntArray:
    return np.array([LETTERS.index(letter) for letter in letters], dtype=np.int64)
