"""Charts of the report as inline SVG: no script, no font, no file beside the page.

Every chart is decoration beside a table with the same figures; it carries a text alternative all the same.
Arms differ by colour (Okabe and Ito 2008, told apart with colour-blind eyes) and by the shape of the marker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from engine.arms import ARMS, in_words
from engine.artifacts.report_json import Figure
from engine.evaluation.intervals import DIFFERENCE, holds
from engine.report.wording import percent_interval

_OTHER_COLOUR = "#444444"

_HEIGHT = 168
_LEFT, _GAP, _TOP, _BOTTOM = 30, 26, 26, 30
PANEL = 130
"""Width of a panel in pixels."""
SMALL_PANEL = 88
"""Width of a panel where many charts stand side by side."""
_DODGE = 7.0


@dataclass(frozen=True, kw_only=True)
class Series:
    """One arm's figure over rounds: (round, {value, low, high}) pairs."""

    arm: str
    points: Sequence[tuple[int, Mapping[str, Any]]]


def colour(arm: str) -> str:
    """Return the arm's colour."""
    return ARMS[arm].colour if arm in ARMS else _OTHER_COLOUR


def marker(arm: str, x: float, y: float, size: float = 4.0) -> Markup:
    """Return the arm's marker: hard a disc, real a hollow square, the others a diamond."""
    fill = escape(colour(arm))
    if arm == "hard":
        return Markup(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{fill}"/>')
    if arm == "real":
        side = 1.8 * size
        return Markup(
            f'<rect x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}" '
            f'class="hollow" stroke="{fill}" stroke-width="2"/>'
        )
    s = 1.2 * size
    return Markup(
        f'<path d="M{x:.1f} {y - s:.1f}L{x + s:.1f} {y:.1f}L{x:.1f} {y + s:.1f}L{x - s:.1f} {y:.1f}Z" fill="{fill}"/>'
    )


def legend_marker(arm: str) -> Markup:
    """Return a small stand-alone marker for legends, hidden from screen readers (the arm's name follows it)."""
    drawn = marker(arm, 8, 8, 4.5)
    return Markup(
        f'<svg class="key" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{drawn}</svg>'
    )


def class_chart(
    name: str, panels: Mapping[str, Sequence[Series]], rounds: Sequence[int], *, width: int = PANEL
) -> Markup:
    """Draw one class: a panel per figure (for example sensitivity and specificity), rounds across, 0-100 % upwards."""
    parts = [
        _panel(title, series, rounds, _LEFT + position * (width + _GAP), width)
        for position, (title, series) in enumerate(panels.items())
    ]
    whole = _LEFT + 2 * width + _GAP + 24
    return _svg(_describe(name, panels), whole, _HEIGHT, Markup("").join(parts))


def strip(
    figure: Figure, arm: str, ticks: Sequence[float] = (0.25, 0.5, 0.75), lesions: int | None = None
) -> Markup:
    """Draw one figure with its interval on a 0-100 % line that takes whatever width the cell has.

    ``lesions``: how many it rests on, told to who does not see it where the interval says nothing.
    """
    if figure.value is None or figure.low is None or figure.high is None:
        return Markup('<span class="nothing">not available</span>')
    shade, label = escape(colour(arm)), escape(percent_interval(figure, lesions))
    low, value, high = (100.0 * end for end in (figure.low, figure.value, figure.high))
    if not holds(figure.value, figure.low, figure.high):
        low = high = value
    grid = "".join(
        f'<line class="grid" x1="{100 * t:.0f}%" x2="{100 * t:.0f}%" y1="0" y2="22"/>' for t in ticks
    )
    return Markup(
        f'<svg class="strip" height="22" role="img" aria-label="{label}">'
        f'<line class="axis" x1="0%" x2="100%" y1="21" y2="21"/>{grid}'
        f'<line x1="{low:.2f}%" x2="{high:.2f}%" y1="11" y2="11" stroke="{shade}" stroke-width="3"/>'
        f'<svg x="{value:.2f}%" y="11" overflow="visible">{marker(arm, 0, 0, 5)}</svg></svg>'
    )


def difference_strip(
    low: float, value: float, high: float, arm: str, reach: float = 0.3, text: str = ""
) -> Markup:
    """Draw a difference with its interval on a line from -``reach`` to ``reach``, 0 in the middle; the rest is cut.

    ``text`` is what it says to a reader who does not see it; "": percentage points.
    """

    def across(share: float) -> float:
        return 50.0 + 50.0 * max(-reach, min(reach, share)) / reach

    if not holds(value, low, high, DIFFERENCE):
        low = high = value
    label = escape(text or f"{100 * value:+.1f} points, from {100 * low:+.1f} to {100 * high:+.1f}")
    shade = escape(colour(arm))
    return Markup(
        f'<svg class="strip" height="22" role="img" aria-label="{label}">'
        f'<line class="axis" x1="50%" x2="50%" y1="0" y2="22"/>'
        f'<line x1="{across(low):.2f}%" x2="{across(high):.2f}%" y1="11" y2="11" stroke="{shade}" stroke-width="3"/>'
        f'<svg x="{across(value):.2f}%" y="11" overflow="visible">{marker(arm, 0, 0, 5)}</svg></svg>'
    )


def stacked_bar(parts: Sequence[tuple[str, int, str]]) -> Markup:
    """Draw counts as one bar; parts are (label, count, colour). The table beside it holds the numbers."""
    total = sum(count for _, count, _ in parts)
    if total == 0:
        return Markup("")
    label = ", ".join(f"{name} {count}" for name, count, _ in parts)
    drawn, start = [], 0.0
    for _, count, fill in parts:
        width = 100.0 * count / total
        drawn.append(f'<rect x="{start:.2f}%" width="{width:.2f}%" y="0" height="12" fill="{escape(fill)}"/>')
        start += width
    return Markup(
        f'<svg class="bar" height="12" role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>'
    )


def _panel(title: str, series: Sequence[Series], rounds: Sequence[int], left: float, width: float) -> Markup:
    bottom = _HEIGHT - _BOTTOM

    def across(number: int) -> float:
        if len(rounds) == 1:
            return left + width / 2
        return left + 14 + (width - 28) * rounds.index(number) / (len(rounds) - 1)

    def up(share: float) -> float:
        return bottom - (bottom - _TOP) * share

    shown = [Markup(f'<text class="panel-title" x="{left}" y="13">{escape(title)}</text>')]
    for share in (0.0, 0.5, 1.0):
        shown.append(
            Markup(
                f'<line class="grid" x1="{left}" x2="{left + width}" y1="{up(share):.1f}" y2="{up(share):.1f}"/>'
                f'<text class="tick" x="{left - 4}" y="{up(share) + 3.5:.1f}" text-anchor="end">{100 * share:.0f}</text>'
            )
        )
    every = max(1, -(-len(rounds) // 8))
    for number in rounds[::every]:
        shown.append(
            Markup(
                f'<text class="tick" x="{across(number):.1f}" y="{bottom + 14}" text-anchor="middle">{number}</text>'
            )
        )
    shown.append(
        Markup(
            f'<text class="tick" x="{left + width / 2}" y="{bottom + 27}" text-anchor="middle">round</text>'
        )
    )
    for position, line in enumerate(series):
        shift = _DODGE * (position - (len(series) - 1) / 2)
        shown.append(_line(line, lambda number, shift=shift: across(number) + shift, up))  # type: ignore[misc]
    return Markup("").join(shown)


def _line(series: Series, across: Callable[[int], float], up: Callable[[float], float]) -> Markup:
    known = [(number, figure) for number, figure in series.points if figure["value"] is not None]
    shade = escape(colour(series.arm))
    path = " ".join(f"{across(number):.1f},{up(figure['value']):.1f}" for number, figure in known)
    drawn = [
        Markup(f'<polyline points="{path}" fill="none" stroke="{shade}" stroke-width="1" opacity="0.55"/>')
    ]
    for number, figure in known:
        x = across(number)
        if holds(figure["value"], figure["low"], figure["high"]):
            ends = f'y1="{up(figure["low"]):.1f}" y2="{up(figure["high"]):.1f}"'
            drawn.append(
                Markup(f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="{shade}" stroke-width="2"/>')
            )
        drawn.append(marker(series.arm, x, up(figure["value"]), 3.4))
    return Markup("").join(drawn)


def _describe(name: str, panels: Mapping[str, Sequence[Series]]) -> str:
    """The text alternative: the last known figure of each arm in each panel."""
    said = []
    for title, series in panels.items():
        for line in series:
            known = [(number, figure) for number, figure in line.points if figure["value"] is not None]
            if known:
                said.append(
                    f"{title} trained {in_words(line.arm)} in round {known[-1][0]}: {percent_interval(known[-1][1])}"
                )
    return f"{name}. " + ("; ".join(said) if said else "no figures") + ". All rounds are in the table below."


def _svg(label: str, width: int, height: int, body: Markup) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )
