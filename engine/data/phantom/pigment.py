"""Structures of pigmented lesions: body, network, globules, streaks, blotches, blue-white veil, regression.

Every function paints one structure on a Scene; ``strength`` runs from 0 (leave out) to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.data.phantom.appearance import Appearance, Colour
from engine.data.phantom.canvas import (
    Canvas,
    Field,
    Floats,
    draw_curve,
    draw_discs,
    honeycomb,
    noise,
    smoothstep,
)
from engine.data.phantom.shape import Shape


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A lesion about to be painted; ``skin`` is the skin's colour relative to light skin, a channel."""

    canvas: Canvas
    shape: Shape
    look: Appearance
    skin: Floats

    def tint(self, colour: Colour | Floats) -> Floats:
        """Return a colour as it looks on this skin: 0.65 of the skin's own absorption lies over it."""
        return np.asarray(colour) * (0.35 + 0.65 * self.skin)

    def blob(
        self, rng: np.random.Generator, reach: tuple[float, float], size: float, ragged: float = 0.35
    ) -> Field:
        """Return the opacity (0-1) of one ragged patch, ``size`` of the lesion's radius, its middle within ``reach``."""
        middle = self.shape.points(rng, 1, *reach)[0]
        x, y = self.canvas.x_HW - np.float32(middle[0]), self.canvas.y_HW - np.float32(middle[1])
        distance = np.hypot(x, y) / np.float32(size * self.look.radius)
        edge = (distance + np.float32(ragged) * noise(rng, x, y, 1.6 / self.look.radius, 6)).astype(
            np.float32
        )
        return np.asarray(smoothstep(1.15, 0.75, edge) * self.shape.body_HW)


def paint_body(scene: Scene, rng: np.random.Generator) -> None:
    """Paint the lesion's ground: rim to inner colour, mottled, one half darker where it is asymmetric in colour."""
    canvas, shape, look = scene.canvas, scene.shape, scene.look
    canvas.paint(shape.body_HW * np.float32(look.opacity), scene.tint(look.rim))
    direction = rng.uniform(0.0, 2 * np.pi)
    across = canvas.x_HW * np.float32(np.cos(direction)) + canvas.y_HW * np.float32(np.sin(direction))
    level = shape.depth_HW + np.float32(0.55 * look.asymmetry / look.radius) * across
    level += np.float32(0.22 * look.mottle) * noise(rng, canvas.x_HW, canvas.y_HW, 1.4 / look.radius)
    level += np.float32(0.12 * look.mottle) * noise(rng, canvas.x_HW, canvas.y_HW, 7.0)
    inner = smoothstep(0.05, 0.65, level.astype(np.float32)) * shape.body_HW
    canvas.paint(inner * np.float32(look.opacity), scene.tint(look.inner))


def paint_texture(scene: Scene, rng: np.random.Generator) -> None:
    """Unevenness of tissue over everything painted in the lesion: brightness varies by a few percent at two scales."""
    x, y = scene.canvas.x_HW, scene.canvas.y_HW
    grain = 0.05 * noise(rng, x, y, 3.5, 6) + 0.05 * noise(rng, x, y, 9.0, 8)
    grain *= np.float32(0.5 + 0.7 * scene.look.mottle) * scene.shape.body_HW
    scene.canvas.rgb_HWC[...] *= 1.0 + grain[..., None] * np.array([0.8, 1.0, 1.1], dtype=np.float32)


def paint_network(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Pigment network: dark mesh over light holes, fading at the border; atypical (broken, coarse) with ``chaos``.

    A central scar leaves only the delicate peripheral network of a dermatofibroma.
    """
    canvas, shape, look = scene.canvas, scene.shape, scene.look
    mesh = honeycomb(
        rng, canvas.x_HW, canvas.y_HW, rng.uniform(0.095, 0.135) * (1 + 0.3 * look.chaos), look.chaos
    )
    mesh += np.float32(0.16 * look.chaos) * noise(rng, canvas.x_HW, canvas.y_HW, 2.5)
    patch = smoothstep(
        -0.6, 1.2, noise(rng, canvas.x_HW, canvas.y_HW, 1.5) + np.float32(1.0 - 1.1 * look.chaos)
    )
    place = shape.body_HW * patch * np.float32(strength)
    place *= 1.0 - np.float32(look.scar) * smoothstep(0.30, 0.65, shape.depth_HW)
    canvas.paint(0.40 * place * smoothstep(0.55, 0.10, mesh), scene.tint(np.asarray(look.rim) * 1.05))
    canvas.paint(0.75 * place * smoothstep(0.52, 0.90, mesh), scene.tint(np.asarray(look.inner) * 0.60))


def paint_globules(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Brown globules of even size around the centre; of uneven size and place (and darker) with ``chaos``."""
    count = round(46 * strength)
    chaos = scene.look.chaos
    centre = scene.shape.points(rng, count, 0.25, 0.92)
    radius = 0.024 * np.exp(rng.normal(0.0, 0.12 + 0.4 * chaos, count))
    dark = np.asarray(scene.look.inner) * (0.55 - 0.25 * chaos)
    draw_discs(scene.canvas, centre, radius, np.tile(scene.tint(dark), (count, 1)), 0.35 + 0.5 * strength)


def paint_streaks(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Radial streaks into the spikes of the outline (pseudopods), dark brown to black."""
    for angle in scene.shape.outline.streak_angles:
        reach = float(scene.shape.outline.radius_at(np.array([angle]))[0])
        base = 0.62 * reach
        draw_curve(
            scene.canvas,
            (base * np.cos(angle), base * np.sin(angle)),
            float(angle),
            0.36 * reach,
            (float(rng.uniform(0.022, 0.050)), 0.022),
            scene.tint((0.13, 0.08, 0.07)),
            0.25 + 0.55 * strength,
            bow=float(rng.normal(0.0, 0.018)),
        )


def paint_blotches(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Eccentric structureless blotches, dark brown and black, and one reddish area."""
    red = scene.blob(rng, (0.4, 0.8), 0.42)
    scene.canvas.paint(red * np.float32(0.6 * strength), scene.tint((0.66, 0.33, 0.30)))
    for colour, size in (((0.22, 0.13, 0.10), 0.62), ((0.09, 0.07, 0.08), 0.42)):
        patch = scene.blob(rng, (0.15, 0.75), size * (0.6 + 0.6 * strength))
        scene.canvas.paint(patch * np.float32(0.9 * strength), scene.tint(colour))


def paint_veil(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Blue-white veil: a confluent, structureless grey-blue area with a ground-glass haze."""
    patch = scene.blob(rng, (0.0, 0.55), 0.62)
    haze = np.clip(0.8 + 0.2 * noise(rng, scene.canvas.x_HW, scene.canvas.y_HW, 3.0), 0.0, 1.0)
    scene.canvas.paint(
        (patch * haze * np.float32(0.85 * strength)).astype(np.float32), scene.tint((0.41, 0.47, 0.58))
    )


def paint_regression(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Regression: a scar-like area whiter than the skin around, with blue-grey peppering."""
    patch = scene.blob(rng, (0.35, 0.75), 0.45)
    scene.canvas.paint(patch * np.float32(0.88 * strength), scene.tint((0.92, 0.85, 0.84)))
    count = round(30 * strength)
    pepper = np.tile(scene.tint((0.42, 0.44, 0.50)), (count, 1))
    points = scene.shape.points(rng, count, 0.2, 0.95)
    draw_discs(scene.canvas, points, rng.uniform(0.008, 0.016, count), pepper, 0.8, clip_HW=patch)
