"""Sensitivity and specificity by sex, age band, site and skin type, each with the counts it rests on.

Shape legend: N images, B bootstrap draws, G groups (of lesions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.evaluation import metrics
from engine.evaluation.scoring import ScoredSplit, operating_point_columns
from engine.evaluation.statistics import group_weights, interval
from engine.types import FloatArray, StrArray, strings

FEWEST_LESIONS: Final = 20
"""Below so many lesions a share is uncertain by more than 0.18 either way (0.8 of 20, normal approximation)."""
AGE_BANDS: Final = ((0, "under 30"), (30, "30–44"), (45, "45–59"), (60, "60–74"), (75, "75 and over"))
COUNTS: Final[Mapping[str, str]] = {"sensitivity": "n_malignant_lesions", "specificity": "n_benign_lesions"}
"""What each of the two figures rests on."""
UNKNOWN: Final = ("", "unknown", "nan", "na", "none")


def subgroup_figures(
    splits: Sequence[ScoredSplit], columns: Mapping[str, StrArray], *, draws: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Return {attribute: {groups, unknown}}, or null for an attribute that no image has: not assessable.

    Args:
        splits: the test part as each classifier (one per seed) sees it, with its malignant operating point; figures are
            means over them.
        columns: each attribute's value an image (N,); "" and "unknown" mean that it is not known.
        draws: bootstrap draws of lesions (of patients, where they are known).
        rng: draws them.

    Returns:
        each group: name, n, n_lesions, n_malignant_lesions, n_benign_lesions, sensitivity and specificity {value, low, high}
        at the operating point fixed on val, and ``too_few``: which of the two rests on fewer than FEWEST_LESIONS lesions.
    """
    found: dict[str, Any] = {}
    for name, value_N in columns.items():
        known_N = np.array([str(value).lower() not in UNKNOWN for value in value_N], dtype=np.bool_)
        if not known_N.any():
            found[name] = None
            continue
        groups = [
            _group(splits, str(value), known_N & (value_N == value), draws, rng)
            for value in in_order(value_N[known_N].tolist())
        ]
        found[name] = {"groups": groups, "unknown": int((~known_N).sum())}
    return found  # fmt: skip


def age_bands(age_N: FloatArray) -> StrArray:
    """Return each age's band, "" where it is unknown (NaN)."""
    starts = np.array([start for start, _ in AGE_BANDS], dtype=np.float64)
    names = [name for _, name in AGE_BANDS]
    return strings(
        ["" if np.isnan(age) else names[int(np.searchsorted(starts, age, side="right")) - 1] for age in age_N]
    )


def in_order(values: Iterable[str]) -> list[str]:
    """Age bands by age, other values by their name; each once."""
    bands = [name for _, name in AGE_BANDS]
    present = set(values)
    return [band for band in bands if band in present] if present <= set(bands) else sorted(present)


def _group(
    splits: Sequence[ScoredSplit],
    name: str,
    rows_N: npt.NDArray[np.bool_],
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    split = splits[0]
    label, lesion_id = split.label_N[rows_N], split.lesion_id[rows_N]
    malignant = np.isin(label, split.malignant_columns)
    drawn, drawn_N = np.unique(split.group_N[rows_N], return_inverse=True)
    counts = {
        "n": int(rows_N.sum()),
        "n_lesions": len(np.unique(lesion_id)),
        "n_malignant_lesions": len(np.unique(lesion_id[malignant])),
        "n_benign_lesions": len(np.unique(lesion_id[~malignant])),
    }
    called_NK = np.mean(
        [
            operating_point_columns(one.prob_NC[rows_N], label, one.malignant_columns, one.threshold)
            for one in splits
        ],
        axis=0,
    )
    sums_GK = metrics.group_sums(called_NK, drawn_N.astype(np.int64), len(drawn))
    drawn_BK = np.einsum("bg,gk->bk", group_weights(len(drawn), draws, rng), sums_GK, optimize=False)
    plain_K = sums_GK.sum(axis=0, keepdims=True)
    figures = {
        figure: interval(
            float(metrics.divide(plain_K[:, at], plain_K[:, at + 1])[0]),
            metrics.divide(drawn_BK[:, at], drawn_BK[:, at + 1]),
        )
        for figure, at in (("sensitivity", 0), ("specificity", 2))
    }
    too_few = [figure for figure, count in COUNTS.items() if counts[count] < FEWEST_LESIONS]
    return {"name": name, **counts, **figures, "too_few": too_few}
