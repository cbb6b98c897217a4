"""The learning curve: well-formed, positions computed by hand, names that do not overlap."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from engine.artifacts.report_json import Figure
from engine.report.curve_chart import CurveLine, curve_chart
from engine.report.wording import number_interval


def figure(value: float | None, reach: float = 0.0) -> Figure:
    if value is None:
        return Figure(value=None)
    return Figure(value=value, low=value - reach, high=value + reach)


def drawn(lines: list[CurveLine], levels: list[CurveLine]) -> ElementTree.Element:
    return ElementTree.fromstring(str(curve_chart("Malignant AUC", lines, levels, number_interval)))


def test_points_lie_where_their_labels_and_values_are() -> None:
    line = CurveLine(
        arm="queried", points=[(0, figure(0.6, 0.1)), (50, figure(None)), (100, figure(0.8, 0.1))]
    )
    root = drawn([line], [CurveLine(arm="real", points=[(0, figure(0.7))])])
    ticks = {
        t.text: float(t.get("y", 0)) - 3.5 for t in root.findall("text") if t.get("text-anchor") == "end"
    }
    assert list(ticks) == ["0.5", "0.6", "0.7", "0.8", "0.9"]
    polyline = root.find("polyline")
    assert polyline is not None
    points = [tuple(map(float, pair.split(","))) for pair in polyline.get("points", "").split()]
    assert len(points) == 2, "an undefined figure is left out"
    assert [y for _, y in points] == pytest.approx([ticks["0.6"], ticks["0.8"]], abs=0.2)
    labels = {t.text: float(t.get("x", 0)) for t in root.findall("text") if t.text and t.text.isdigit()}
    assert [x for x, _ in points] == pytest.approx([labels["0"], labels["100"]], abs=0.2)
    dashed = next(one for one in root.findall("line") if one.get("stroke-dasharray"))
    assert float(dashed.get("y1", 0)) == pytest.approx(ticks["0.7"], abs=0.2)


def test_the_text_alternative_names_every_arm_and_where_it_ends() -> None:
    lines = [CurveLine(arm="queried", points=[(0, figure(0.6)), (8, figure(0.75, 0.05))])]
    label = drawn(lines, [CurveLine(arm="hard", points=[(0, figure(0.7, 0.1))])]).get("aria-label")
    assert label == (
        "Malignant AUC by labels asked for. "
        "trained with labels the model asked for (queried), 8 labels: 0.750 (0.700–0.800); "
        "trained with synthetic hard cases (hard), without labels: 0.700 (0.600–0.800). All rounds are in the table below."
    )


def test_names_of_lines_that_end_together_are_apart_and_on_the_chart() -> None:
    lines = [
        CurveLine(arm=arm, points=[(0, figure(0.6)), (8, figure(0.6))])
        for arm in ("queried", "queried_random", "hard_and_queried")
    ]
    root = drawn(lines, [CurveLine(arm="real", points=[(0, figure(0.6))])])
    places = sorted(float(t.get("y", 0)) for t in root.findall("text") if t.get("class") == "name")
    assert len(places) == 4 and all(b - a >= 12.9 for a, b in pairwise(places))
    assert places[-1] <= float(root.get("viewBox", "").split()[-1])


def test_a_curve_of_no_figure_says_so() -> None:
    found = curve_chart("x", [CurveLine(arm="queried", points=[(0, figure(None))])], [], number_interval)
    assert "not defined" in found
