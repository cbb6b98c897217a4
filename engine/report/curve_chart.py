"""A learning curve as inline SVG: a figure by labels asked for, a line per arm; arms without labels as level lines.

As every chart it is decoration beside a table with the same figures, and carries a text alternative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from engine.arms import in_words, label_of
from engine.artifacts.report_json import Figure
from engine.evaluation.intervals import holds
from engine.report.charts import colour, marker

_WIDTH: Final = 580
_HEIGHT: Final = 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 206, 10, 40
_DODGE: Final = 4.0
_LINE: Final = 13.0
"""Height of a line of text: names at the right end stand at least so far apart."""


@dataclass(frozen=True, kw_only=True)
class CurveLine:
    """One arm's figure by labels asked for: (labels, figure) pairs; a level line has one pair and no labels."""

    arm: str
    points: Sequence[tuple[float, Figure]]

    @property
    def known(self) -> list[tuple[float, Figure]]:
        """The points whose figure is defined."""
        return [(labels, figure) for labels, figure in self.points if figure.value is not None]


def curve_chart(
    title: str, lines: Sequence[CurveLine], levels: Sequence[CurveLine], text: Callable[[Figure], str]
) -> Markup:
    """Draw the curves and level lines of one figure.

    Args:
        title: the figure's name.
        lines: the arms that bought labels.
        levels: arms that bought none, one point each.
        text: how the figure is printed, for the text alternative.
    """
    drawn = [line for line in lines if line.known]
    flat = [line for line in levels if line.known]
    if not drawn:
        return Markup('<p class="missing">The figure is not defined.</p>')
    figures = [figure for line in (*drawn, *flat) for _, figure in line.known]
    low, high, step = _scale(figures)
    most = max(labels for line in drawn for labels, _ in line.known) or 1.0
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def across(labels: float) -> float:
        return _LEFT + 12 + (right - _LEFT - 24) * labels / most

    def up(value: float) -> float:
        return bottom - (bottom - _TOP) * (min(max(value, low), high) - low) / (high - low)

    ticks = [low + step * position for position in range(round((high - low) / step) + 1)]
    parts = [_grid(up(value), right, f"{value:.3g}") for value in ticks]
    counts = sorted({labels for line in drawn for labels, _ in line.known})
    every = max(1, -(-len(counts) // 12))
    parts += [
        Markup(
            f'<text class="tick" x="{across(labels):.1f}" y="{bottom + 16}" text-anchor="middle">{labels:g}</text>'
        )
        for labels in counts[::every]
    ]
    parts.append(
        Markup(
            f'<text class="tick" x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">labels asked for</text>'
        )
    )
    parts += [_level(line, up(line.known[0][1].value or 0.0), right) for line in flat]
    for position, line in enumerate(drawn):
        shift = _DODGE * (position - (len(drawn) - 1) / 2)
        parts.append(_curve(line, lambda labels, shift=shift: across(labels) + shift, up))  # type: ignore[misc]
    parts.append(_names([*drawn, *flat], up, right + 8))
    label = escape(_describe(title, drawn, flat, text))
    body = Markup("").join(parts)
    return Markup(
        f'<svg class="chart wide" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{body}</svg>'
    )


def _scale(figures: Sequence[Figure]) -> tuple[float, float, float]:
    """Return the ends of the axis and the distance of its ticks: all intervals lie on it."""
    ends = [end for figure in figures for end in (figure.low, figure.value, figure.high) if end is not None]
    span = max(max(ends) - min(ends), 1e-3)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= span / 5)
    low, high = math.floor(min(ends) / step + 1e-9) * step, math.ceil(max(ends) / step - 1e-9) * step
    return low, max(high, low + step), step


def _grid(y: float, right: float, text: str) -> Markup:
    return Markup(
        f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
    )


def _level(line: CurveLine, y: float, right: float) -> Markup:
    return Markup(
        f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{escape(colour(line.arm))}" '
        f'stroke-width="1.5" stroke-dasharray="6 4"/>'
    )


def _curve(line: CurveLine, across: Callable[[float], float], up: Callable[[float], float]) -> Markup:
    shade = escape(colour(line.arm))
    path = " ".join(f"{across(labels):.1f},{up(figure.value or 0.0):.1f}" for labels, figure in line.known)
    parts = [Markup(f'<polyline points="{path}" fill="none" stroke="{shade}" stroke-width="1.8"/>')]
    for labels, figure in line.known:
        x = f"{across(labels):.1f}"
        value, low, high = figure.value or 0.0, figure.low, figure.high
        if low is not None and high is not None and holds(value, low, high):
            ends = f'y1="{up(low):.1f}" y2="{up(high):.1f}"'
            parts.append(
                Markup(f'<line x1="{x}" x2="{x}" {ends} stroke="{shade}" stroke-width="1.5" opacity="0.6"/>')
            )
        parts.append(marker(line.arm, across(labels), up(figure.value or 0.0), 3.6))
    return Markup("").join(parts)


def _names(lines: Sequence[CurveLine], up: Callable[[float], float], x: float) -> Markup:
    """Write each arm's name beside the end of its line, pushed down where two would overlap."""
    ends = sorted((up(line.known[-1][1].value or 0.0), line.arm) for line in lines)
    lowest = _HEIGHT - 6.0
    places: list[float] = []
    for y, _ in ends:
        places.append(max(y, places[-1] + _LINE) if places else y)
    for position in range(len(places) - 1, -1, -1):
        places[position] = min(places[position], lowest - _LINE * (len(places) - 1 - position))
    return Markup("").join(
        Markup('<text class="name" x="{}" y="{:.1f}" fill="{}">{}</text>').format(
            x, y + 4, colour(arm), label_of(arm)
        )
        for y, (_, arm) in zip(places, ends, strict=True)
    )


def _describe(
    title: str, lines: Sequence[CurveLine], levels: Sequence[CurveLine], text: Callable[[Figure], str]
) -> str:
    """The text alternative: the last known figure of each arm."""
    said = [
        f"trained {in_words(line.arm)}, {line.known[-1][0]:g} labels: {text(line.known[-1][1])}"
        for line in lines
    ]
    said += [f"trained {in_words(line.arm)}, without labels: {text(line.known[-1][1])}" for line in levels]
    return f"{title} by labels asked for. " + "; ".join(said) + ". All rounds are in the table below."
