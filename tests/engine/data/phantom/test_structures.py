"""Every dermoscopic structure, alone on a plain lesion: it paints there, in its colour, more when stronger."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.phantom.appearance import STRUCTURES, Appearance
from engine.data.phantom.canvas import View, new_canvas
from engine.data.phantom.lesions import _PAINTERS
from engine.data.phantom.pigment import Scene, paint_body, paint_texture
from engine.data.phantom.shape import draw_outline, lay

LOOK = Appearance(radius=0.55, softness=0.05, streaks=0.8)
GROUND = np.array([0.70, 0.52, 0.42], dtype=np.float32)


def _scene(side: int = 128) -> Scene:
    canvas = new_canvas(side, View())
    canvas.rgb_HWC[...] = GROUND
    shape = lay(draw_outline(LOOK, np.random.default_rng(0)), canvas, np.random.default_rng(1))
    return Scene(canvas=canvas, shape=shape, look=LOOK, skin=np.ones(3))


def _change(name: str, strength: float, seed: int = 2) -> tuple[np.ndarray, Scene]:
    scene = _scene()
    _PAINTERS[name](scene, strength, np.random.default_rng(seed))
    return scene.canvas.rgb_HWC - GROUND, scene


def test_every_structure_has_a_painter():
    assert set(_PAINTERS) == set(STRUCTURES)


@pytest.mark.parametrize("name", sorted(_PAINTERS))
def test_stronger_paints_more(name):
    weak = np.mean([np.abs(_change(name, 0.2, seed)[0]).sum() for seed in range(6)])
    strong = np.mean([np.abs(_change(name, 1.0, seed)[0]).sum() for seed in range(6)])
    assert strong > 1.3 * weak > 0.0


@pytest.mark.parametrize("name", sorted(_PAINTERS))
def test_structures_stay_on_the_lesion(name):
    change, scene = _change(name, 1.0)
    outside = scene.shape.depth_HW < -0.25
    assert np.abs(change[outside]).sum() <= 0.02 * np.abs(change).sum()


@pytest.mark.parametrize(
    ("name", "channel_signs"),
    [
        ("milia", (1, 1, 1)), ("scar", (1, 1, 1)), ("scale", (1, 1, 1)), ("regression", (1, 1, 1)),
        ("comedo", (-1, -1, -1)), ("blotches", (-1, -1, -1)), ("streaks", (-1, -1, -1)), ("globules", (-1, -1, -1)),
        ("veil", (-1, 0, 1)), ("nests", (-1, -1, 0)), ("lacunae", (0, -1, -1)), ("ulcer", (-1, -1, -1)),
    ],
)  # fmt: skip
def test_structures_have_their_colour(name, channel_signs):
    total = np.mean([_change(name, 1.0, seed)[0].sum((0, 1)) for seed in range(8)], axis=0)
    for change, sign in zip(total, channel_signs, strict=True):
        assert sign == 0 or np.sign(change) == sign, total


def test_network_of_a_scarred_lesion_is_peripheral():
    import dataclasses

    scene = _scene()
    scarred = dataclasses.replace(scene, look=dataclasses.replace(LOOK, scar=1.0))
    _PAINTERS["network"](scarred, 1.0, np.random.default_rng(0))
    change = np.abs(scarred.canvas.rgb_HWC - GROUND).sum(2)
    depth = scarred.shape.depth_HW
    assert change[depth > 0.7].mean() < 0.05 * change[(depth > 0.1) & (depth < 0.3)].mean()


def test_body_covers_the_lesion_and_texture_keeps_its_mean():
    scene = _scene()
    paint_body(scene, np.random.default_rng(0))
    inside = scene.shape.depth_HW > 0.2
    before = scene.canvas.rgb_HWC[inside].mean()
    assert before < GROUND.mean()
    paint_texture(scene, np.random.default_rng(0))
    assert scene.canvas.rgb_HWC[inside].mean() == pytest.approx(before, rel=0.02)


def test_dark_skin_darkens_every_colour():
    import dataclasses

    scene = dataclasses.replace(_scene(), skin=np.array([0.4, 0.3, 0.25]))
    assert np.all(scene.tint((0.9, 0.8, 0.8)) < np.array([0.9, 0.8, 0.8]))
