"""The ROC curve as inline SVG: one line per arm, named directly, its operating point marked with both intervals.

As every chart it is decoration beside a table with the same figures, and carries a text alternative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from engine.arms import ARMS, ENGINE, in_words, label_of
from engine.artifacts.report_json import Figure
from engine.evaluation.intervals import holds
from engine.report.charts import colour, marker
from engine.report.wording import number_interval, percent_interval
from engine.types import FloatArray

_SIDE: Final = 320
_LEFT, _TOP, _RIGHT, _BOTTOM = 40, 18, 12, 36
_NAME: Final = 30.0
"""Height of a name with the line below it."""


@dataclass(frozen=True, kw_only=True)
class RocLine:
    """One arm: its curve as false and true positive rates (K,), and its figures at the operating point."""

    arm: str
    false_positive_K: FloatArray
    true_positive_K: FloatArray
    sensitivity: Figure
    specificity: Figure
    auc: Figure
    lesions: int | None = None

    @property
    def marked(self) -> tuple[float, float] | None:
        """False and true positive rate of the operating point, None where val fixed none."""
        if self.specificity.value is None or self.sensitivity.value is None:
            return None
        return 1.0 - self.specificity.value, self.sensitivity.value


def roc_chart(lines: Sequence[RocLine]) -> Markup:
    """Draw the curves: false alarms to the right, sensitivity upwards, both 0 to 100 %."""
    parts = [_frame()]
    parts += [_curve(line) for line in lines]
    parts += [_point(line) for line in lines]
    parts.append(_names(lines))
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
    return Markup(
        f'<svg class="chart roc" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(_describe(lines))}">'
        f"{Markup('').join(parts)}</svg>"
    )


def _across(rate: float) -> float:
    return _LEFT + _SIDE * rate


def _up(rate: float) -> float:
    return _TOP + _SIDE * (1.0 - rate)


def _frame() -> Markup:
    bottom, right = _up(0.0), _across(1.0)
    drawn = [
        f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{_TOP}" stroke-dasharray="4 4"/>'
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _across(share), _up(share)
        drawn.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{100 * share:.0f}</text>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{100 * share:.0f}</text>'
        )
    drawn.append(
        f'<text class="tick" x="{_across(0.5)}" y="{bottom + 30}" text-anchor="middle">'
        "benign called malignant, % (100 − specificity)</text>"
        f'<text class="tick" x="{_LEFT - 18}" y="{_TOP - 7}">malignant recognised, % (sensitivity)</text>'
    )
    return Markup("".join(drawn))


def _curve(line: RocLine) -> Markup:
    path = " ".join(
        f"{_across(x):.1f},{_up(y):.1f}"
        for x, y in zip(line.false_positive_K.tolist(), line.true_positive_K.tolist(), strict=True)
    )
    width, dash = (
        (2.2, "") if line.arm == ENGINE else (1.5, ' stroke-dasharray="5 3"' if _synthetic(line.arm) else "")
    )
    return Markup(
        f'<polyline points="{path}" fill="none" stroke="{escape(colour(line.arm))}" stroke-width="{width}"{dash}/>'
    )


def _synthetic(arm: str) -> bool:
    return arm in ARMS and ARMS[arm].makes_images


def _point(line: RocLine) -> Markup:
    """The operating point with the interval of each rate; one that says nothing is not drawn."""
    if line.marked is None:
        return Markup("")
    x, y = _across(line.marked[0]), _up(line.marked[1])
    stroke = f'stroke="{escape(colour(line.arm))}" stroke-width="1.5" opacity="0.75"'
    drawn = []
    if (ends := _ends(line.sensitivity)) is not None:
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_up(ends[0]):.1f}" y2="{_up(ends[1]):.1f}" {stroke}/>'
        )
    if (ends := _ends(line.specificity)) is not None:
        low, high = (_across(1.0 - end) for end in ends)
        drawn.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" {stroke}/>')
    return Markup("".join(drawn)) + marker(line.arm, x, y, 5.0)


def _ends(figure: Figure) -> tuple[float, float] | None:
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    return (figure.low, figure.high) if holds(figure.value, figure.low, figure.high) else None


def _names(lines: Sequence[RocLine]) -> Markup:
    """Write the names below the diagonal, the highest point first, each with a thin line to its operating point."""
    order = sorted(lines, key=lambda line: -(line.marked or (0.0, 0.0))[1])
    left, top = _across(0.39), _up(0.02) - _NAME * len(order) + 12
    drawn = []
    for place, line in enumerate(order):
        y = top + _NAME * place
        shade = escape(colour(line.arm))
        if line.marked is not None:
            x, point = _across(line.marked[0]), _up(line.marked[1])
            drawn.append(
                Markup(
                    f'<line x1="{x + 6:.1f}" y1="{point + 4:.1f}" x2="{left - 5:.1f}" y2="{y - 4:.1f}" stroke="{shade}" '
                    'stroke-width="0.8" opacity="0.6"/>'
                )
            )
        auc = number_interval(line.auc, line.lesions)
        drawn.append(
            Markup(
                f'<text class="name" x="{left:.1f}" y="{y:.1f}" fill="{shade}">{escape(label_of(line.arm))}</text>'
                f'<text class="tick" x="{left:.1f}" y="{y + 12.5:.1f}">AUC {escape(auc)}</text>'
            )
        )
    return Markup("").join(drawn)


def _describe(lines: Sequence[RocLine]) -> str:
    """The text alternative: area and operating point of each arm."""
    said = [
        f"trained {in_words(line.arm)}: AUC {number_interval(line.auc, line.lesions)}, at the operating point sensitivity "
        f"{percent_interval(line.sensitivity)} and specificity {percent_interval(line.specificity)}"
        for line in lines
    ]
    return "ROC curves, malignant or premalignant against benign. " + "; ".join(said) + "."
