"""SVG charts: well-formed, escaped, positions computed by hand."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from engine.arms import ARMS
from engine.artifacts.report_json import Figure
from engine.report import charts as draw

FIGURE = {"value": 0.5, "low": 0.25, "high": 1.0}
MISSING = {"value": None, "low": None, "high": None}


def parse(svg: object) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg))


def test_strip_places_value_and_interval() -> None:
    root = parse(draw.strip(Figure(**FIGURE), "hard"))
    assert root.get("aria-label") == "50.0\u00a0% (25.0–100.0)"
    bar = next(line for line in root.findall("line") if line.get("stroke"))
    assert (bar.get("x1"), bar.get("x2")) == ("25.00%", "100.00%")
    assert root.find("svg").get("x") == "50.00%"
    assert "not available" in draw.strip(Figure(**MISSING), "hard")


def test_a_strip_whose_interval_says_nothing_has_no_bar() -> None:
    root = parse(draw.strip(Figure(value=0.5, low=0.5, high=0.75), "hard", lesions=3))
    bar = next(line for line in root.findall("line") if line.get("stroke"))
    assert bar.get("x1") == bar.get("x2") == "50.00%"
    assert root.get("aria-label") == "50.0\u00a0% (too few: 3 lesions)"


@pytest.mark.parametrize(
    ("arm", "tag"), [("hard", "circle"), ("real", "rect"), ("mined", "path"), ("new", "path")]
)
def test_arms_differ_by_shape(arm: str, tag: str) -> None:
    assert parse(draw.marker(arm, 1, 2)).tag == tag
    assert parse(draw.legend_marker(arm)).get("aria-hidden") == "true"


def test_arm_colours_stand_out_from_white() -> None:
    """WCAG contrast of at least 4.5 to 1."""
    for colour in (*(arm.colour for arm in ARMS.values()), draw.colour("another")):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5


def test_class_chart_draws_every_known_point_and_tells_the_last() -> None:
    series = [
        draw.Series(arm="real", points=[(0, FIGURE), (1, MISSING), (2, FIGURE)]),
        draw.Series(arm="hard", points=[(1, FIGURE), (2, FIGURE | {"value": 0.75})]),
    ]
    root = parse(draw.class_chart("mel", {"Sensitivity, %": series, "Specificity, %": []}, [0, 1, 2]))
    assert len(root.findall("circle")) == 2 and len(root.findall("rect")) == 2
    label = root.get("aria-label")
    assert label.startswith("mel. Sensitivity, % trained on real images alone (real) in round 2: 50.0\u00a0%")
    assert "with synthetic hard cases (hard) in round 2: 75.0\u00a0% (25.0–100.0)" in label
    high, low = (float(c.get("cy")) for c in root.findall("circle"))
    assert (high, low) == (
        pytest.approx(82.0),
        pytest.approx(54.0),
    )  # 0.5 and 0.75 between y 138 (0) and 26 (1)


def test_class_chart_of_one_round_and_without_figures() -> None:
    assert (
        parse(draw.class_chart("nv", {"S": [draw.Series(arm="real", points=[(0, FIGURE)])]}, [0])).find(
            "rect"
        )
        is not None
    )
    assert "no figures" in parse(draw.class_chart("nv", {"S": []}, [0])).get("aria-label")


def test_many_rounds_are_labelled_at_intervals() -> None:
    root = parse(draw.class_chart("nv", {"S": []}, list(range(20))))
    ticks = [
        t.text
        for t in root.findall("text")
        if t.text and t.text.isdigit() and t.get("text-anchor") == "middle"
    ]
    assert ticks == ["0", "3", "6", "9", "12", "15", "18"]


def test_names_are_escaped() -> None:
    root = parse(draw.class_chart('<b>"&', {"S": []}, [0]))
    assert root.get("aria-label").startswith('<b>"&.') and root.find("b") is None


def test_stacked_bar_shares_add_up() -> None:
    root = parse(draw.stacked_bar([("accepted", 3, "#000000"), ("judge", 1, "#111111")]))
    assert [r.get("width") for r in root.findall("rect")] == ["75.00%", "25.00%"]
    assert root.findall("rect")[1].get("x") == "75.00%"
    assert root.get("aria-label") == "accepted 3, judge 1"
    assert draw.stacked_bar([("accepted", 0, "#000000")]) == ""
