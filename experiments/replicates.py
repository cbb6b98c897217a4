"""What one replicate of the proof leaves behind, image by image, and what several of them say together.

A replicate is one training set, or one fold, with all its arms. It keeps the predicted class and the call at the operating
point (fixed on val) of every scored image: enough to draw lesions again when replicates come together, small enough to be
committed. Statistics are those of ``engine.evaluation.comparison``.

Shape legend: R replicates, B bootstrap draws, N images, L lesions, C classes, K summed quantities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.classifier.calibration import Calibration
from engine.errors import DataError
from engine.evaluation import comparison, metrics
from engine.evaluation.comparison import Difference, Evidence, Floats
from engine.evaluation.metrics import divide, lesion_sums, mean_defined
from engine.evaluation.scoring import malignant_score
from engine.evaluation.statistics import lesion_weights
from engine.stages.evaluate import read_predictions
from engine.training import derive_seed
from engine.types import BoolArray, IntArray

PRIMARY = "malignant_sensitivity"
ENDPOINTS = (PRIMARY, "malignant_specificity", "melanoma_sensitivity", "accuracy", "balanced_accuracy")
FAMILY = ("classical", "random", "mined", "retrieved")
"""The baselines of the contrasts that Holm's procedure covers; all else is exploratory."""
DRAWS = 2000
LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""One letter a class: a line of text holds the labels of all images."""

Combine = Callable[[Floats, Floats], Difference]
"""How differences (R,) and their draws (R, B) become an interval; the design of the replicates decides."""


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
    """What one classifier said of the cases: the most probable class, and whether it calls the image malignant."""

    predicted_N: IntArray
    called_N: BoolArray

    def to_json(self) -> dict[str, str]:
        """Return it as text."""
        return {
            "predicted": _letters(self.predicted_N),
            "called": "".join("1" if called else "0" for called in self.called_N),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, str]) -> Outcome:
        """Read it back."""
        return cls(
            predicted_N=_positions(found["predicted"]),
            called_N=np.array([letter == "1" for letter in found["called"]], dtype=np.bool_),
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
    return cases, Outcome(predicted_N=chosen.predicted_N, called_N=called_N)


def figures(cases: Cases, outcome: Outcome, weights_BL: Floats) -> dict[str, Floats]:
    """Return every endpoint (B,) under weightings of the lesions; undefined is NaN."""
    malignant_N = np.isin(cases.label_N, cases.malignant)
    melanoma_N = cases.label_N == (cases.classes.index("mel") if "mel" in cases.classes else -1)
    called_N, count = outcome.called_N, len(cases.classes)
    ratios = {
        PRIMARY: (malignant_N & called_N, malignant_N),
        "malignant_specificity": (~malignant_N & ~called_N, ~malignant_N),
        "melanoma_sensitivity": (melanoma_N & called_N, melanoma_N),
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


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One training set or fold: its cases and each arm's outcomes on them, one a seed."""

    cases: Cases
    outcomes: Mapping[str, Sequence[Outcome]]

    def figures(self, arm: str, weights_BL: Floats) -> dict[str, Floats]:
        """Return an arm's endpoints (B,), the mean over its seeds: seeds are no replicates."""
        found = [figures(self.cases, outcome, weights_BL) for outcome in self.outcomes[arm]]
        return {name: np.mean([one[name] for one in found], axis=0) for name in ENDPOINTS}


def differences(
    replicates: Sequence[Replicate], arm: str, baseline: str, *, shared: bool
) -> dict[str, tuple[Floats, Floats]]:
    """Return arm minus baseline of each endpoint: (R,) and in draws of lesions (R, B), both arms drawn alike.

    ``shared``: the replicates have one test part, and a draw is the same lesions in all of them.

    Raises:
        DataError: replicates that should share their test part do not.
    """
    if shared and len({r.cases.digest for r in replicates}) > 1:
        raise DataError("the replicates were scored on different images; they cannot be resampled together")
    values: dict[str, list[float]] = {name: [] for name in ENDPOINTS}
    draws: dict[str, list[Floats]] = {name: [] for name in ENDPOINTS}
    for number, replicate in enumerate(replicates):
        count = int(replicate.cases.lesion_N.max()) + 1
        rng = np.random.default_rng(derive_seed("replicates", 0 if shared else number))
        weights_BL = np.vstack([np.ones((1, count)), lesion_weights(count, DRAWS, rng)])
        ours, theirs = (replicate.figures(name, weights_BL) for name in (arm, baseline))
        for name in ENDPOINTS:
            change = ours[name] - theirs[name]
            values[name].append(float(change[0]))
            draws[name].append(change[1:])
    return {name: (np.array(values[name]), np.array(draws[name])) for name in ENDPOINTS}


def one_test_part(value_R: Floats, drawn_RB: Floats) -> Difference:
    """Training sets that share a test part: the wider of the crossed bootstrap and the paired t."""
    rng = np.random.default_rng(derive_seed("replicates", "crossed"))
    return comparison.headline(
        comparison.crossed_bootstrap(value_R, drawn_RB, rng), comparison.paired_t(value_R)
    )


def analyse(
    replicates: Sequence[Replicate],
    baselines: Sequence[str],
    combine: Combine,
    *,
    shared: bool,
    protocol: str,
) -> dict[str, Any]:
    """Return the contrasts of ``hard`` with every baseline, Holm's family, and the verdict; JSON.

    The family's intervals are widened to hold together; the others are exploratory.
    """
    contrasts = {
        baseline: {
            name: combine(*pair)
            for name, pair in differences(replicates, "hard", baseline, shared=shared).items()
            if not np.isnan(pair[0]).any()
        }
        for baseline in baselines
    }
    family = {name: contrasts[name][PRIMARY] for name in FAMILY if PRIMARY in contrasts.get(name, {})}
    adjusted = comparison.holm({name: d.p_value for name, d in family.items() if d.p_value is not None})
    found = {
        "replicates": len(replicates),
        "hard_minus": {b: {name: asdict(d) for name, d in c.items()} for b, c in contrasts.items()},
        "family": {
            name: {**asdict(d), "p_holm": adjusted.get(name)}
            for name, d in comparison.holm_intervals(family).items()
        },
    }
    return found | _verdict(contrasts, len(replicates), protocol)


def _verdict(
    contrasts: Mapping[str, Mapping[str, Difference]], replicates: int, protocol: str
) -> dict[str, str]:
    if not all(PRIMARY in contrasts.get(name, {}) for name in ("real", "random")):
        return {"verdict": "not shown", "why": "the arms real and random are needed"}
    real = contrasts["real"]
    answer, why = comparison.verdict(
        Evidence(
            protocol=protocol,
            replicates=replicates,
            against_real=real[PRIMARY],
            against_random=contrasts["random"][PRIMARY],
            specificity=real["malignant_specificity"],
            melanoma_sensitivity=real.get("melanoma_sensitivity"),
        )
    )
    return {"verdict": answer, "why": why}


def _letters(position_N: IntArray) -> str:
    return "".join(LETTERS[position] for position in position_N.tolist())


def _positions(letters: str) -> IntArray:
    return np.array([LETTERS.index(letter) for letter in letters], dtype=np.int64)
