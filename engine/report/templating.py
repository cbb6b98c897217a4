"""Turns templates into one self-contained page: style and script inside, nothing fetched from elsewhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from engine.arms import ARMS, in_words
from engine.artifacts.report_json import LEAKY
from engine.data.diagnoses import recognise
from engine.report import charts as draw
from engine.report.wording import VERDICTS, percent

INTERVAL: Final = re.compile(r"\[[^\[\]]*\d[^\[\]]*\]")
TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, content: Mapping[str, Any]) -> str:
    """Return the page of a template; text from files is escaped, a name the template misses is an error."""
    assets = {
        name: Markup((TEMPLATES / f"report.{name}").read_text(encoding="utf-8").strip())
        for name in ("css", "js")
    }
    return _environment().get_template(template).render(**content, **assets) + "\n"


@functools.cache
def _environment() -> Environment:
    """Return the one environment, which compiles a template once: half of the time of a page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "stacked": stacked, "points": points, "in_full": in_full}
    environment.filters["quiet_intervals"] = quiet_intervals
    environment.filters["in_words"] = in_words
    environment.globals |= {
        "key": draw.legend_marker,
        "arm_name": arm_name,
        "anchor": anchor,
        "verdicts": VERDICTS,
        "leaky_protocols": LEAKY,
    }
    return environment


def arm_name(name: str) -> Markup:
    """Return an arm in plain words, with its name in small print; an unknown one by its name."""
    if name not in ARMS:
        return escape(name)
    return Markup("{} <small>({})</small>").format(ARMS[name].label, name)


def anchor(name: str) -> Markup:
    """Return the link of a heading to itself, for who wants to point others at a section."""
    return Markup(' <a class="anchor" href="#{}" aria-label="Link to this heading"></a>').format(name)


def in_full(label: str) -> str:
    """Return a class for a reader who does not know its abbreviation: ``melanoma (mel)``; what is not known as it stands."""
    known = recognise(label)
    if known is None or known.full_name.casefold() in (label.casefold(), known.name.casefold()):
        return label
    return f"{known.full_name} ({label})"


def stacked(text: str) -> Markup:
    """Put the interval of ``78.2 % (70.1–85.3)`` on a line of its own, so that tables stay narrow."""
    return _second_line(text, "(")


def points(text: str) -> Markup:
    """Put the interval of ``+4.2 points [+1.0, +7.4]`` on a line of its own."""
    return _second_line(text, "[")


def quiet_intervals(text: str) -> Markup:
    """Set every ``[+1.0, +7.4]`` of a sentence smaller, so that amounts are read first; none is broken over two lines."""
    return Markup(INTERVAL.sub(r'<span class="interval">\g<0></span>', str(escape(text))))


def _second_line(text: str, opening: str) -> Markup:
    value, bracket, rest = text.partition(f" {opening}")
    return (
        Markup(f'{escape(value)}<span class="ci">{opening}{escape(rest)}</span>') if bracket else escape(text)
    )
