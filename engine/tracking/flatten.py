"""Turns configs and reports into the flat names and numbers that a tracking server keeps."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from engine.artifacts.report_json import RunReport

MAX_PARAM_LENGTH = 6000
"""Characters MLflow keeps of a parameter."""
MAX_NAME_LENGTH = 250
HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "malignant/", "sensitivity/", "specificity/")
"""What the parent run shows as curves over rounds, of each split."""


def parameters(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten a config tree to dotted names; lists and empty sections as JSON, long values cut with "..."."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= parameters(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
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

    ``val`` and ``test`` become ``test/balanced_accuracy``, ``test/sensitivity/<dx>``, ``test/malignant/auc``...,
    each with ``.low`` and ``.high``; counts, seconds and the p value keep their names. Undefined figures (null)
    and text are left out.
    """
    flat: dict[str, float] = {}
    for key, value in report.items():
        if key in ("val", "test") and isinstance(value, Mapping):
            flat |= _split_metrics(key, value)
        elif key not in ("round", "digests"):
            flat |= _numbers(key, value)
    return flat


def headline(report: Mapping[str, Any], main: bool) -> dict[str, float]:
    """The figures of one (round, arm) for the parent run; arms other than the main one go under ``<arm>/``."""
    prefix = "" if main else f"{report['arm']}/"
    chosen = {}
    for name, value in metrics(report).items():
        split, _, figure = name.partition("/")
        wanted = (
            split in ("val", "test")
            and figure.startswith(HEADLINE)
            and not figure.endswith((".low", ".high"))
        )
        if wanted or name in ("acceptance_rate", "n_accepted", "n_generated"):
            chosen[metric_name(prefix + name)] = value
    return chosen


def metric_name(name: str) -> str:
    """Replace what MLflow allows in no name (it allows letters, digits and ``_-. /``) and cut it to 250."""
    return re.sub(r"[^\w\-. /]", "_", name)[:MAX_NAME_LENGTH]


def _split_metrics(split: str, figures: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in figures.items():
        if name == "per_class" and isinstance(value, Mapping):
            for dx, row in value.items():
                for figure, entry in row.items():
                    flat |= _numbers(f"{split}/{figure}/{dx}", entry)
        elif name != "confusion":
            flat |= _numbers(f"{split}/{name}", value)
    return flat


def _numbers(name: str, value: Any) -> dict[str, float]:
    """A figure {value, low, high} gives three names, a mapping one a leaf, a finite number one, all else none."""
    if isinstance(value, Mapping):
        flat: dict[str, float] = {}
        for key, entry in value.items():
            child = name if key == "value" else f"{name}.{key}" if key in ("low", "high") else f"{name}/{key}"
            flat |= _numbers(child, entry)
        return flat
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return {metric_name(name): float(value)}
    return {}
