"""Outlines: area, asymmetry, border, streaks, and the lesion laid on a canvas."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engine.data.phantom.appearance import Appearance
from engine.data.phantom.canvas import View, new_canvas
from engine.data.phantom.shape import draw_outline, lay

ROUND = Appearance(radius=0.4, elongation=0.0, asymmetry=0.0, irregularity=0.0, softness=0.1)


def _wobble(look: Appearance, order: slice) -> float:
    powers = []
    for seed in range(30):
        radius = draw_outline(look, np.random.default_rng(seed)).radius_A
        powers.append((np.abs(np.fft.rfft(radius / radius.mean()))[order] ** 2).sum())
    return float(np.mean(powers))


def test_round_outline_has_the_radius():
    outline = draw_outline(ROUND, np.random.default_rng(0))
    assert outline.radius_A == pytest.approx(0.4, rel=0.12)


def test_asymmetry_feeds_low_orders_and_irregularity_high_ones():
    skewed = dataclasses.replace(ROUND, asymmetry=0.9)
    ragged = dataclasses.replace(ROUND, irregularity=0.9)
    assert _wobble(skewed, slice(1, 4)) > 10 * _wobble(ROUND, slice(1, 4))
    assert _wobble(ragged, slice(4, 17)) > 10 * _wobble(ROUND, slice(4, 17))
    assert _wobble(skewed, slice(6, 17)) < 0.1 * _wobble(ragged, slice(6, 17))


@pytest.mark.parametrize(("strength", "count"), [(0.0, 0), (0.1, 0), (0.4, 6), (1.0, 15)])
def test_streaks_are_spikes_of_the_outline(strength, count):
    outline = draw_outline(dataclasses.replace(ROUND, streaks=strength), np.random.default_rng(1))
    assert len(outline.streak_angles) == count
    if count:
        assert outline.radius_at(outline.streak_angles).mean() > 1.05 * np.median(outline.radius_A)


def test_outline_never_leaves_the_picture():
    wild = dataclasses.replace(ROUND, radius=0.78, asymmetry=1.0, irregularity=1.0, elongation=0.5)
    assert max(draw_outline(wild, np.random.default_rng(s)).radius_A.max() for s in range(20)) <= 0.93


def test_mask_of_a_laid_circle_has_its_area():
    outline = dataclasses.replace(
        draw_outline(ROUND, np.random.default_rng(0)), radius_A=np.full(512, 0.5), fringe=0.0
    )
    canvas = new_canvas(200, View())
    shape = lay(outline, canvas, np.random.default_rng(0))
    assert shape.inside_HW.sum() * (2 / 200) ** 2 == pytest.approx(np.pi * 0.25, rel=0.01)
    assert shape.depth_HW[100, 100] == pytest.approx(1.0, abs=0.02)
    assert shape.body_HW[100, 100] == 1.0 and shape.body_HW[0, 0] == 0.0


def test_points_lie_between_the_given_shares_of_the_radius():
    outline = draw_outline(dataclasses.replace(ROUND, asymmetry=0.8), np.random.default_rng(2))
    shape = lay(outline, new_canvas(16, View()), np.random.default_rng(0))
    points = shape.points(np.random.default_rng(3), 400, 0.3, 0.6)
    share = np.hypot(*points.T) / outline.radius_at(np.arctan2(points[:, 1], points[:, 0]))
    assert share.min() >= 0.3 - 1e-9 and share.max() <= 0.6 + 1e-9
