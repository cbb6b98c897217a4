"""Calibration in the report: how often predictions made with a given confidence are right, as a chart and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from engine.evaluation.metrics import CALIBRATION_BINS, confidence_bins
from engine.report import charts as draw
from engine.report.wording import percent
from engine.types import FloatArray, IntArray

FEWEST_IMAGES = 10
"""Bins with fewer images are in the table but not in the chart: their share of right ones jumps about."""

_SIDE, _LEFT, _TOP, _BOTTOM = 250, 34, 8, 34


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Images whose confidence lies in (low, high]: how many, their mean confidence and the share that is right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def reliability(prob_NC: FloatArray, label_N: IntArray, bins: int = CALIBRATION_BINS) -> list[Bin]:
    """Return the bins that hold images: equal widths over (0, 1], of the most probable class's probability."""
    confidence_N, right_N, bin_N = confidence_bins(prob_NC, label_N, bins)
    return [
        Bin(
            low=number / bins,
            high=(number + 1) / bins,
            n=int((bin_N == number).sum()),
            confidence=float(confidence_N[bin_N == number].mean()),
            accuracy=float(right_N[bin_N == number].mean()),
        )
        for number in range(bins)
        if (bin_N == number).any()
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: |accuracy - confidence| of the bins, weighted by their images."""
    total = sum(b.n for b in bins)
    return sum(b.n * abs(b.accuracy - b.confidence) for b in bins) / total


def calibration_block(arms: Mapping[str, tuple[FloatArray, IntArray]]) -> dict[str, Any] | None:
    """Chart and table of the arms given as (prob_NC, label_N); None where there are none, or no images."""
    found = {arm: reliability(prob, label) for arm, (prob, label) in arms.items() if len(label)}
    if not found:
        return None
    return {
        "chart": reliability_chart(found),
        "arms": [
            {"arm": arm, "key": draw.legend_marker(arm), "ece": f"{calibration_error(bins):.3f}"}
            for arm, bins in found.items()
        ],
        "rows": [
            {
                "arm": arm,
                "bin": f"{100 * b.low:.0f}–{100 * b.high:.0f} %",
                "n": b.n,
                "confidence": percent(b.confidence),
                "accuracy": percent(b.accuracy),
            }
            for arm, bins in found.items()
            for b in bins
        ],
    }


def reliability_chart(arms: Mapping[str, Sequence[Bin]]) -> Markup:
    """Draw confidence to the right and the share that is right upwards; on the diagonal the two agree."""
    right, bottom = _LEFT + _SIDE, _TOP + _SIDE

    def place(confidence: float, accuracy: float) -> tuple[float, float]:
        return _LEFT + _SIDE * confidence, bottom - _SIDE * accuracy

    parts = [_frame(right, bottom)]
    for arm, bins in arms.items():
        shown = [place(b.confidence, b.accuracy) for b in bins if b.n >= FEWEST_IMAGES]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in shown)
        shade = escape(draw.colour(arm))
        parts.append(
            Markup(
                f'<polyline points="{line}" fill="none" stroke="{shade}" stroke-width="1.5" opacity="0.7"/>'
            )
        )
        parts += [draw.marker(arm, x, y, 3.6) for x, y in shown]
    said = "; ".join(
        f"arm {arm}: calibration error {calibration_error(bins):.3f}" for arm, bins in arms.items()
    )
    label = escape(f"Reliability diagram. {said}. All bins are in the table below.")
    return Markup(
        f'<svg class="reliability" viewBox="0 0 {right + 14} {bottom + _BOTTOM}" role="img" aria-label="{label}">'
        f"{Markup('').join(parts)}</svg>"
    )


def _frame(right: float, bottom: float) -> Markup:
    drawn = [
        f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{_TOP}" stroke-dasharray="4 4"/>'
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _LEFT + _SIDE * share, bottom - _SIDE * share
        drawn.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{100 * share:.0f}</text>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{100 * share:.0f}</text>'
        )
    drawn.append(
        f'<text class="tick" x="{_LEFT + _SIDE / 2}" y="{bottom + 29}" text-anchor="middle">confidence, %</text>'
        f'<text class="tick" x="{_LEFT + 4}" y="{_TOP + 10}">right, %</text>'
    )
    return Markup("".join(drawn))
