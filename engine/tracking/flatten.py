"""Turns configs and reports into the flat names and numbers that a tracking server keeps."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from engine.artifacts.report_json import RunReport, figures_in
from engine.artifacts.visible_text import visible

MAX_PARAM_LENGTH = 6000
"""Characters MLflow keeps of a parameter."""
MAX_NAME_LENGTH = 250
HEADLINE: Final = {
    "malignant sensitivity": "malignant/sensitivity",
    "malignant specificity": "malignant/specificity",
    "malignant AUC": "malignant/auc",
    "balanced accuracy": "balanced_accuracy",
}
"""What the parent run shows as curves over rounds, of each part and arm: MLflow draws what stands before / in one group."""
HEADLINE_PARTS: Final = ("test", "val")
"""Of which parts the parent run shows them."""
BY_CLASS: Final = ("test/sensitivity/", "test/specificity/")
"""How the names begin of what the parent run shows of each class, of the main arm alone."""
TABLE: Final = ("part", "figure", "value", "low", "high")
"""Columns of the table of all figures."""
APART: Final = ("challenging", "rest", "confusion")
"""What of a part's figures is in the table and in report.json alone."""


def parameters(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten a config tree to dotted names; lists and empty sections as JSON, long values cut with "..."."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= parameters(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            text = visible(text)  # a database refuses a null character
            flat[metric_name(name)] = (
                text if len(text) <= MAX_PARAM_LENGTH else text[: MAX_PARAM_LENGTH - 3] + "..."
            )
    return flat


def failed_attempts(report: RunReport) -> dict[str, str]:
    """Return the tags that count failed attempts at stages by cause; none where every stage took one attempt."""
    failed = [f.cause for failures in (report.failed_attempts or {}).values() for f in failures]
    return {
        f"failed_attempts.{cause.replace(' ', '_')}": str(failed.count(cause))
        for cause in sorted(set(failed))
    }


def metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """Flatten one (round, arm) object of report.json.

    ``val`` and ``test`` become ``test/balanced_accuracy``, ``test/sensitivity/<dx>``, ``test/malignant/auc``...; counts,
    seconds and the p value keep their names. Intervals, counts of images per part, and figures of challenging lesions and
    the rest are left to ``figures_table``; undefined figures (null) and text are left out.
    """
    flat: dict[str, float] = {}
    for key, value in report.items():
        if key in ("val", "test") and isinstance(value, Mapping):
            flat |= _split_metrics(key, value)
        elif key not in ("round", "digests", "seeds"):
            flat |= _numbers(key, value)
    return flat


def headline(report: Mapping[str, Any], main: bool) -> dict[str, float]:
    """Return what the parent run shows of one (round, arm): ``test malignant sensitivity/hard``, and so on.

    Of the ``main`` arm each class's ``test/sensitivity/<dx>`` and ``test/specificity/<dx>`` as well.
    """
    arm, flat = report["arm"], metrics(report)
    names = {
        headline_name(part, words, arm): f"{part}/{name}"
        for part in HEADLINE_PARTS
        for words, name in HEADLINE.items()
    }
    names[f"training images accepted/{arm}"] = "n_accepted"
    found = {metric_name(shown): flat[name] for shown, name in names.items() if name in flat}
    return found | ({name: flat[name] for name in flat if name.startswith(BY_CLASS)} if main else {})


def headline_name(part: str, words: str, arm: str) -> str:
    """Return the name of a figure of HEADLINE on the parent run: ``test malignant sensitivity/hard``."""
    return metric_name(f"{part} {words}/{arm}")


def figures_table(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every figure of val and test with its 95 % interval, rows of TABLE; undefined is None."""
    return [
        {"part": part, "figure": name, **vars(figure)}
        for part in ("val", "test")
        for name, figure in figures_in(report.get(part) or {})
    ]


def metric_name(name: str) -> str:
    """Replace what MLflow allows in no name and cut it to 250.

    It allows letters, digits and ``_-. /``, and no part between slashes that is empty or leads elsewhere (``a//b``, ``..``).
    """
    allowed = re.sub(r"[^\w\-. /]", "_", name)
    return _plain_parts(_plain_parts(allowed)[:MAX_NAME_LENGTH].rstrip("/"))


def _plain_parts(name: str) -> str:
    return "/".join("_" * max(len(part), 1) if part in ("", ".", "..") else part for part in name.split("/"))


def _split_metrics(split: str, figures: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in figures.items():
        if name == "per_class" and isinstance(value, Mapping):
            for dx, shown in _distinct(value).items():
                for figure, entry in value[dx].items():
                    flat |= _numbers(f"{split}/{figure}/{shown}", entry)
        elif name not in APART:
            flat |= _numbers(f"{split}/{name}", value)
    return {name: value for name, value in flat.items() if not _is_count(name)}


def _distinct(names: Iterable[str]) -> dict[str, str]:
    """Return each class as a metric names it: those that MLflow could not tell apart have a digest of theirs behind them."""
    shown = {name: metric_name(name) for name in names}
    counts = Counter(shown.values())
    return {
        name: text if counts[text] == 1 else f"{text}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        for name, text in shown.items()
    }


def _is_count(name: str) -> bool:
    return any(step == "n" or step.startswith("n_") for step in name.split("/"))


def _numbers(name: str, value: Any) -> dict[str, float]:
    """A figure {value, low, high} gives one name, a mapping one per leaf, a finite number one, all else none."""
    if isinstance(value, Mapping):
        flat: dict[str, float] = {}
        for key, entry in value.items():
            if key not in ("low", "high"):
                flat |= _numbers(name if key == "value" else f"{name}/{key}", entry)
        return flat
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return {metric_name(name): float(value)}
    return {}
