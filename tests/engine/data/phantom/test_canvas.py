"""Views, windows and antialiased primitives against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.phantom.canvas import View, draw_curve, draw_discs, honeycomb, new_canvas, noise, smoothstep

TURNED = View(angle=0.7, zoom=1.3, mirror=True, shift=(0.1, -0.2))


def test_to_image_inverts_to_lesion():
    canvas = new_canvas(8, TURNED)
    u, v = TURNED.to_image(canvas.x_HW.astype(float), canvas.y_HW.astype(float))
    plain = new_canvas(8, View())
    assert u == pytest.approx(plain.x_HW, abs=1e-5)
    assert v == pytest.approx(plain.y_HW, abs=1e-5)


def test_pixel_centres_span_minus_one_to_one():
    canvas = new_canvas(4, View())
    assert canvas.x_HW[0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert canvas.y_HW[:, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert canvas.pixel == 0.5


def test_smoothstep_rises_and_falls():
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0], dtype=np.float32)
    assert smoothstep(0.0, 1.0, values).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert smoothstep(1.0, 0.0, values).tolist() == [1.0, 1.0, 0.5, 0.0, 0.0]


def test_noise_has_mean_zero_and_variance_one():
    axis = np.linspace(-20, 20, 300, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    field = noise(np.random.default_rng(0), x, y, 1.0)
    assert abs(float(field.mean())) < 0.05
    assert float(field.var()) == pytest.approx(1.0, abs=0.05)


def test_honeycomb_is_a_mesh_between_zero_and_one():
    canvas = new_canvas(64, View())
    mesh = honeycomb(np.random.default_rng(0), canvas.x_HW, canvas.y_HW, 0.2, 0.0)
    assert mesh.min() > -1e-5 and mesh.max() < 1.0 + 1e-5
    assert (mesh > 0.6).mean() > 2 * (mesh < 0.2).mean()


@pytest.mark.parametrize("view", [View(), TURNED])
def test_disc_covers_its_area_wherever_the_view_puts_it(view):
    canvas = new_canvas(200, view)
    draw_discs(canvas, np.array([[0.1, 0.05]]), np.array([0.3]), np.ones((1, 3)), 1.0)
    area = canvas.rgb_HWC[..., 0].sum() * (2 / 200) ** 2
    assert area == pytest.approx(np.pi * 0.3**2 * view.zoom**2, rel=0.03)


def test_a_disc_below_a_pixel_is_faint_not_absent():
    canvas = new_canvas(20, View())
    draw_discs(canvas, np.array([[0.05, 0.05]]), np.array([0.02]), np.ones((1, 3)), 1.0)
    assert 0.0 < canvas.rgb_HWC.max() < 0.5


def test_clip_keeps_a_disc_out():
    canvas = new_canvas(20, View())
    clip = np.zeros((20, 20), dtype=np.float32)
    draw_discs(canvas, np.array([[0.0, 0.0]]), np.array([0.5]), np.ones((1, 3)), 1.0, clip_HW=clip)
    assert canvas.rgb_HWC.max() == 0.0


def test_curve_has_its_length_width_and_bow():
    canvas = new_canvas(200, View())
    draw_curve(canvas, (-0.5, 0.0), 0.0, 1.0, (0.08, 0.08), np.ones(3), 1.0)
    assert canvas.rgb_HWC[..., 0].sum() * (2 / 200) ** 2 == pytest.approx(0.08, rel=0.03)
    bent = new_canvas(200, View())
    draw_curve(bent, (-0.5, 0.0), 0.0, 1.0, (0.08, 0.08), np.ones(3), 1.0, bow=0.3)
    rows, columns = np.nonzero(bent.rgb_HWC[..., 0] > 0.5)
    assert bent.y_HW[rows[np.argmin(np.abs(columns - 100))], 0] == pytest.approx(0.3, abs=0.06)


def test_what_lies_outside_the_picture_is_not_drawn():
    canvas = new_canvas(16, View())
    draw_discs(canvas, np.array([[5.0, 5.0]]), np.array([0.3]), np.ones((1, 3)), 1.0)
    draw_curve(canvas, (4.0, 4.0), 0.3, 1.0, (0.1, 0.1), np.ones(3), 1.0, wave=(0.02, 5.0, 0.0))
    assert canvas.rgb_HWC.max() == 0.0
