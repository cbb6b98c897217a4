"""From the runs of a positive and a negative control to intervals over seeds and a verdict.

A seed draws its own phantoms, split, foundation and classifiers, so seeds are independent and one interval over seeds holds
all of the chance there is. Each difference is paired within a seed.

Shape legend: R seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.arms import ENGINE
from engine.study.comparison import paired_t, simultaneous_level
from experiments.lib.subtype_figures import FIGURES

Floats = npt.NDArray[np.float64]
Run = Mapping[str, Any]
"""What ``experiments.blind_spot run`` keeps of one seed."""

DRAWS: Final = 10_000
FEWEST_SEEDS: Final = 10
"""Before that a verdict is preliminary."""
WINS: Final = ("malignant.auc", "subtype.sensitivity")
"""Figures of which one must rise for the positive control to be right; their intervals hold together (Bonferroni)."""
NEGATIVE: Final = "malignant.auc"
"""The figure that must not change without a blind spot."""


def over_seeds(value_R: Floats, nothing: float = 0.0) -> dict[str, Any]:
    """Return the mean over seeds with its 95 % t interval, a bootstrap interval, and the t interval at the level of WINS.

    Args:
        value_R: one value per seed, two or more.
        nothing: the value that means "no effect"; ``above`` counts the seeds that exceed it.
    """
    plain = paired_t(value_R, unit="seeds")
    wide = paired_t(value_R, simultaneous_level(len(WINS)), unit="seeds")
    rng = np.random.default_rng([0, len(value_R)])
    drawn = value_R[rng.integers(0, len(value_R), (DRAWS, len(value_R)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "value": plain.value,
        "low": plain.low,
        "high": plain.high,
        "bootstrap": {"low": float(low), "high": float(high)},
        "adjusted": {"low": wide.low, "high": wide.high},
        "above": int((value_R > nothing).sum()),
        "by_seed": value_R.tolist(),
    }


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Return what the seeds of one control show: means per arm, and each of found, made and won with its intervals.

    ``found``: enrichment, the share of mined lesions that are of the subtype over its share of the lesions mined from, and
    the same within its class. ``made``: share of accepted (generated) images with a parent of the subtype, ``hard`` minus
    ``random``. ``hard_minus``: figures of ``hard`` minus each arm's. A figure that a seed lacks is null.
    """
    arms = list(runs[0]["figures"])
    return {
        "seeds": [run["seed"] for run in runs],
        "lesions": {
            part: float(np.mean([run["lesions"][part] for run in runs])) for part in runs[0]["lesions"]
        },
        "arms": {arm: {name: _mean(runs, arm, name) for name in FIGURES} for arm in arms},
        "found": {
            among: over_seeds(np.array([enrichment(run, among) for run in runs]), 1.0)
            for among in ("all", "class")
        },
        "made": {
            kind: {
                **{arm: float(np.mean([share(run, arm, kind) for run in runs])) for arm in runs[0]["made"]},
                **_more(runs, kind),
            }
            for kind in ("generated", "accepted")
        },
        "hard_minus": {
            arm: {name: gain(_arm(runs, ENGINE), _arm(runs, arm), name) for name in FIGURES}
            for arm in arms
            if arm != ENGINE
        },
    }


def enrichment(run: Run, among: str) -> float:
    """Return how many times as frequent the subtype is in what was mined as in what it was mined from; 0 if not mined.

    ``among``: ``all`` lesions, or those of the ``class`` that hides it.
    """
    hard, data = run["found"]["hard"], run["found"]["data"]
    if hard[among] == 0:
        return 0.0
    return float(hard["subtype"] / hard[among] / (data["subtype"] / data[among]))


def share(run: Run, arm: str, kind: str) -> float:
    """Return the share of an arm's images (``generated`` or ``accepted``) whose parent is of the subtype; 0 of none."""
    counts = run["made"][arm]
    return counts[f"{kind}_subtype"] / counts[kind] if counts[kind] else 0.0


def gain(
    ours: Sequence[Mapping[str, float | None]], theirs: Sequence[Mapping[str, float | None]], name: str
) -> dict[str, Any] | None:
    """Return a figure's difference over seeds, paired within a seed; None where a seed lacks it."""
    pairs = [(a[name], b[name]) for a, b in zip(ours, theirs, strict=True)]
    values = [a - b for a, b in pairs if a is not None and b is not None]
    return over_seeds(np.array(values)) if len(values) == len(pairs) else None


def verdict(positive: Mapping[str, Any] | None, negative: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return whether each control came out right and why, and the sentence that says it.

    Positive: ``hard`` mined the subtype (enrichment above 1), made more of it than ``random``, and gained over it in one of
    WINS, each with its interval. Negative: the interval of ``hard`` minus ``random`` holds 0.
    """
    found: dict[str, Any] = {"positive": None, "negative": None}
    if positive is not None:
        against = positive["hard_minus"]["random"]
        checks = {
            "found": positive["found"]["all"]["low"] > 1.0,
            "made more": positive["made"]["accepted"]["hard minus random"]["low"] > 0.0,
            "won": any(against[name] is not None and against[name]["adjusted"]["low"] > 0.0 for name in WINS),
        }
        found["positive"] = {**checks, "right": all(checks.values()), "seeds": len(positive["seeds"])}
    if negative is not None:
        against = negative["hard_minus"]["random"][NEGATIVE]
        right = against is not None and against["low"] <= 0.0 <= against["high"]
        found["negative"] = {"right": right, "seeds": len(negative["seeds"])}
    return {**found, "sentence": _sentence(found)}


def _sentence(found: Mapping[str, Any]) -> str:
    done = {name: control for name, control in found.items() if control is not None}
    if not done:
        return "No control has been run on two seeds yet."
    words = [
        f"the {name} control came out {'right' if control['right'] else 'wrong'} ({control['seeds']} seeds)"
        for name, control in done.items()
    ]
    few = any(control["seeds"] < FEWEST_SEEDS for control in done.values()) or len(done) < len(found)
    text = " and ".join(words)
    return f"{text[0].upper()}{text[1:]}{'; preliminary' if few else ''}."


def _more(runs: Sequence[Run], kind: str) -> dict[str, Any]:
    if "random" not in runs[0]["made"]:
        return {}
    values = [share(run, ENGINE, kind) - share(run, "random", kind) for run in runs]
    return {"hard minus random": over_seeds(np.array(values))}


def _mean(runs: Sequence[Run], arm: str, name: str) -> float | None:
    values = [run["figures"][arm][name] for run in runs]
    return None if None in values else float(np.mean(values))


def _arm(runs: Sequence[Run], arm: str) -> list[Mapping[str, float | None]]:
    return [run["figures"][arm] for run in runs]
