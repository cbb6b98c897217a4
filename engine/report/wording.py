"""Figures as words: percentages with intervals, and the one sentence at the top of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.artifacts.report_json import Figure
from engine.labelling.oracle import MARK

NOTHING = "–"
Interval = Mapping[str, Any] | Figure
"""A figure with its interval, as report.json has it or as its reader gives it."""

PROTOCOLS: Mapping[str, tuple[str, str]] = {
    "safe": (
        "No leakage found",
        "This says how the run was made, not that the classifier is safe. Hard cases were not sought in the test part, and "
        "no lesion lies in two parts of the split. The test part was recorded and decided nothing.",
    ),
    "leaky": (
        "LEAKY: hard cases were mined from the test part",
        "Images of the test part steered what was synthesized and trained on. The figures below are optimistic and "
        "say nothing about new lesions. Do not quote them as performance.",
    ),
    "groups_unknown": (
        "GROUPS UNKNOWN: lesions could straddle the split",
        "The data names neither patients nor lesions, so photographs of one lesion may lie both in the training part "
        "and in the test part. The figures below may be optimistic, and the intervals too narrow.",
    ),
}
"""Title and explanation of each protocol of report.json."""

MARKS: Mapping[str, str] = {"leaky": "LEAKY: mined from test", "groups_unknown": "GROUPS UNKNOWN"}
"""What stands beside figures, and beside what else a run has made, where its protocol is not safe."""
SIMULATED = MARK
"""What stands beside figures of classifiers that trained on labels of an oracle."""
SIMULATED_TITLE = f"{SIMULATED}: an oracle uncovered hidden labels"
SIMULATED_WORDS = (
    "No reader answered: labels that the data set holds were hidden, then uncovered when they were asked for. Readers err, "
    "disagree and take time, so figures of arms that train on these labels show what asking could bring at best."
)
SIMULATED_BANNER: Mapping[str, str] = {"title": SIMULATED_TITLE, "explanation": SIMULATED_WORDS}


def marks(protocol: str, *, simulated: bool) -> str:
    """Return what stands in brackets beside a run's figures: its protocol's mark, SIMULATED LABELS, both, or ""."""
    return "; ".join(filter(None, [MARKS.get(protocol, ""), SIMULATED if simulated else ""]))


def percent(value: float | None, digits: int = 1) -> str:
    """Return 0.7821 as ``78.2 %``, None as a dash."""
    return NOTHING if value is None else f"{100.0 * value:.{digits}f}\u00a0%"


def percent_interval(figure: Interval | None) -> str:
    """Return ``78.2 % (70.1–85.3)``, or a dash."""
    found = _numbers(figure)
    return f"{percent(found[0])} ({100 * found[1]:.1f}–{100 * found[2]:.1f})" if found else NOTHING


def number_interval(figure: Interval | None) -> str:
    """Return ``0.912 (0.880–0.941)``, or a dash."""
    found = _numbers(figure)
    return f"{found[0]:.3f} ({found[1]:.3f}–{found[2]:.3f})" if found else NOTHING


def _numbers(figure: Interval | None) -> tuple[float, float, float] | None:
    """Return (value, low, high), None where the figure is undefined."""
    plain = vars(figure) if isinstance(figure, Figure) else figure
    if not plain or plain["value"] is None:
        return None
    return plain["value"], plain["low"], plain["high"]


def p_text(value: float | None) -> str:
    """Return a p-value with two significant digits at most four decimals, or a dash."""
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Return seconds as ``42 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def latest(rounds: Sequence[Mapping[str, Any]], arm: str) -> Mapping[str, Any] | None:
    """Return the report of the last round that trained ``arm``, None where no round did."""
    mine = [entry for entry in rounds if entry["arm"] == arm]
    return max(mine, key=lambda entry: int(entry["round"])) if mine else None


def headline(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Return the plain comparison of arm hard with arm real on malignant sensitivity, last round, test part."""
    hard, real = latest(rounds, "hard"), latest(rounds, "real")
    if hard is None:
        return "No round with the hard arm has finished, so there is nothing to compare yet."
    if real is None:
        return "The real arm was not trained, so there is nothing to compare the hard arm with."
    ours, theirs = (entry["test"]["malignant"]["sensitivity"] for entry in (hard, real))
    if ours["value"] is None or theirs["value"] is None:
        return (
            "Sensitivity to malignant or premalignant lesions is not available: the data names no such class, the "
            "test part holds none, or val fixed no operating point. Compare the arms by balanced accuracy below."
        )
    return (
        f"In round {hard['round']}, arm hard recognised {percent_interval(ours)} of the {_images(hard)} of malignant or "
        f"premalignant lesions, against {percent_interval(theirs)} in arm real{_when(hard, real)}, each at the operating "
        f"point fixed on val, which gave a test specificity of {_specificity(hard)} and {_specificity(real)}. "
        f"{_overlap(ours, theirs)} One run with one seed proves no gain, whichever way the difference points."
    )


def _images(entry: Mapping[str, Any]) -> str:
    malignant = entry["test"]["malignant"]
    return f"{malignant['n']} test images ({malignant['n_lesions']} lesions)"


def _specificity(entry: Mapping[str, Any]) -> str:
    return percent_interval(entry["test"]["malignant"]["specificity"])


def _when(hard: Mapping[str, Any], real: Mapping[str, Any]) -> str:
    """Say so where the two were not trained in the same round: then their training lengths differ too."""
    if hard["round"] == real["round"]:
        return ""
    return f" of round {real['round']} (not trained in round {hard['round']}, so not for as many steps)"


def _overlap(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    points = 100.0 * (ours["value"] - theirs["value"])
    apart = ours["low"] > theirs["high"] or theirs["low"] > ours["high"]
    relation = "do not overlap" if apart else "overlap"
    if abs(points) < 0.05:
        return f"The two are equal to a tenth of a percentage point and the 95 % intervals {relation}."
    direction = "higher" if points > 0 else "lower"
    return f"That is {abs(points):.1f} percentage points {direction}; the 95 % intervals {relation}."
