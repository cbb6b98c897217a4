"""Skin tones, hair, bubbles, light."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engine.data.phantom.canvas import View, new_canvas
from engine.data.phantom.skin import Patient, Photograph, draw_patient, draw_photograph, finish, paint_skin

SIDE = 160
PLAIN = Patient(
    tone=0.0, skin=np.array([0.9, 0.75, 0.7]), hairs=0.0, hair_colour=np.array([0.1, 0.1, 0.1]), freckles=0
)
SHOT = Photograph(
    view=View(), brightness=1.0, cast=np.ones(3), vignette=0.0, blur=0.0, bubbles=0, glare=False
)


def _photo(patient: Patient = PLAIN, **changes) -> np.ndarray:
    canvas = new_canvas(SIDE, View())
    canvas.rgb_HWC[...] = 0.6
    finish(canvas, patient, dataclasses.replace(SHOT, **changes), np.random.default_rng(0))
    return canvas.rgb_HWC


def test_tones_reach_from_light_to_dark():
    patients = [draw_patient(np.random.default_rng(seed)) for seed in range(300)]
    tones = np.array([p.tone for p in patients])
    assert tones.min() < 0.3 and tones.max() > 3.8 and np.median(tones) < 2.0
    light = [p.skin.mean() for p in patients]
    assert np.corrcoef(tones, light)[0, 1] < -0.95
    hairy = np.mean([p.hairs > 0 for p in patients])
    assert 0.25 < hairy < 0.45


def test_skin_is_near_its_colour():
    canvas = new_canvas(64, View())
    paint_skin(canvas, PLAIN, np.random.default_rng(0))
    assert canvas.rgb_HWC.mean((0, 1)) == pytest.approx(PLAIN.skin, rel=0.05)
    assert 0.003 < canvas.rgb_HWC.std() < 0.2


def test_freckles_darken():
    bare, spotted = new_canvas(64, View()), new_canvas(64, View())
    paint_skin(bare, PLAIN, np.random.default_rng(0))
    paint_skin(spotted, dataclasses.replace(PLAIN, freckles=20), np.random.default_rng(0))
    assert spotted.rgb_HWC.mean() < bare.rgb_HWC.mean()


def test_hair_is_dark_and_thin():
    photo = _photo(dataclasses.replace(PLAIN, hairs=25.0))
    hair = photo.mean(2) < 0.4
    assert 0.01 < hair.mean() < 0.35


def test_bubbles_and_glare_are_bright():
    assert _photo(bubbles=6).max() > 0.85 > _photo().max()
    assert _photo(glare=True).max() > 0.85


def test_a_dermatoscope_rim_blackens_the_corners_only():
    photo = _photo(vignette=0.9)
    assert photo[0, 0].max() < 0.1 and photo[SIDE // 2, SIDE // 2].min() > 0.5


def test_light_scales_colours():
    assert _photo(brightness=1.2).mean() == pytest.approx(1.2 * _photo().mean(), rel=0.01)
    warm = _photo(cast=np.array([1.1, 1.0, 0.9]))
    assert warm[..., 0].mean() > warm[..., 1].mean() > warm[..., 2].mean()


def test_photographs_stay_in_their_ranges():
    shots = [draw_photograph(np.random.default_rng(seed)) for seed in range(200)]
    assert all(0.85 <= s.view.zoom <= 1.2 for s in shots)
    rims = np.mean([s.vignette > 0.6 for s in shots])
    assert 0.02 < rims < 0.16
