"""Structures of keratoses, carcinomas, dermatofibromas and vascular lesions, each painted on a Scene.

``strength`` runs from 0 (leave out) to 1. Terms as in Kittler et al. 2016 (third consensus conference, dermoscopy).
"""

from __future__ import annotations

import numpy as np

from engine.data.phantom.canvas import Floats, draw_curve, draw_discs, honeycomb, noise, smoothstep
from engine.data.phantom.pigment import Scene


def paint_milia(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Milia-like cysts: round white to yellow dots with a soft edge."""
    count = round(20 * strength)
    colours = np.array([scene.tint((0.97, 0.94, 0.80)) for _ in range(count)]).reshape(count, 3)
    centre = scene.shape.points(rng, count, 0.0, 0.88)
    draw_discs(scene.canvas, centre, rng.uniform(0.022, 0.048, count), colours, 0.92, blur=0.7)


def paint_comedo(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Comedo-like openings: sharply bounded dark brown plugs with a light rim."""
    count = round(16 * strength)
    centre = scene.shape.points(rng, count, 0.0, 0.9)
    radius = rng.uniform(0.024, 0.052, count)
    rim = np.tile(scene.tint((0.74, 0.60, 0.44)), (count, 1))
    plug = np.tile(scene.tint((0.23, 0.14, 0.09)), (count, 1))
    draw_discs(scene.canvas, centre, radius * 1.35, rim, 0.6)
    draw_discs(scene.canvas, centre, radius, plug, 0.92, blur=0.15)


def paint_cerebriform(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Gyri and sulci (brain-like), and the crisp, raised edge of a stuck-on plaque."""
    canvas, shape = scene.canvas, scene.shape
    field = noise(rng, canvas.x_HW, canvas.y_HW, 3.4, 14) + np.float32(0.25) * noise(
        rng, canvas.x_HW, canvas.y_HW, 9.0
    )
    place = shape.body_HW * np.float32(strength)
    canvas.paint(0.50 * place * smoothstep(0.45, 0.95, np.abs(field)), scene.tint((0.76, 0.62, 0.46)))
    canvas.paint(0.60 * place * smoothstep(0.34, 0.04, np.abs(field)), scene.tint((0.33, 0.22, 0.15)))
    edge = smoothstep(0.16, 0.0, shape.depth_HW) * shape.inside_HW
    canvas.paint(0.55 * edge * np.float32(strength), scene.tint((0.36, 0.25, 0.17)))


def paint_vessels(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Arborizing vessels: sharp bright-red trunks that branch into ever finer ones, over a pearly ground."""
    pearl = scene.blob(rng, (0.0, 0.4), 0.7)
    scene.canvas.paint(pearl * np.float32(0.30 * strength), scene.tint((0.97, 0.90, 0.90)))
    red = scene.tint((0.74, 0.10, 0.16))
    for _ in range(1 + round(2.4 * strength)):
        root = scene.shape.points(rng, 1, 0.75, 0.98)[0]
        inwards = float(np.arctan2(-root[1], -root[0]) + rng.normal(0.0, 0.5))
        _branch(scene, root, inwards, scene.look.radius * rng.uniform(0.9, 1.5), 0.040, red, strength, rng, 2)


def _branch(
    scene: Scene,
    start: Floats,
    angle: float,
    length: float,
    width: float,
    colour: Floats,
    strength: float,
    rng: np.random.Generator,
    depth: int,
) -> None:
    """Draw one vessel and, down to ``depth`` more generations, the branches that leave it."""
    bow = float(rng.normal(0.0, 0.10)) * length
    draw_curve(
        scene.canvas, (float(start[0]), float(start[1])), angle, length, (width, 0.35 * width), colour,
        0.25 + 0.70 * strength, bow=bow, wave=(0.012, 14.0, float(rng.uniform(0, 6.3))), clip_HW=scene.shape.body_HW,
    )  # fmt: skip
    if depth == 0:
        return
    for _ in range(3):
        share = rng.uniform(0.2, 0.9)
        along, aside = share * length, 4 * bow * share * (1 - share)
        x = start[0] + along * np.cos(angle) - aside * np.sin(angle)
        y = start[1] + along * np.sin(angle) + aside * np.cos(angle)
        turn = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.45, 1.0))
        size = length * rng.uniform(0.35, 0.55)
        _branch(scene, np.array([x, y]), angle + turn, size, 0.6 * width, colour, strength, rng, depth - 1)


def paint_nests(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Large blue-grey ovoid nests and small blue-grey globules, and short white shiny streaks."""
    count = round(7 * strength)
    centre = scene.shape.points(rng, count, 0.2, 0.88)
    radius = rng.uniform(0.055, 0.12, count)
    lean = rng.normal(0.0, 0.5, (count, 2)) * radius[:, None]
    colour = np.tile(scene.tint((0.33, 0.36, 0.47)), (count, 1))
    draw_discs(scene.canvas, centre, radius, colour, 0.75, blur=0.45)
    draw_discs(scene.canvas, centre + lean, 0.75 * radius, colour, 0.65, blur=0.45)
    dots = round(12 * strength)
    small = np.tile(scene.tint((0.38, 0.40, 0.50)), (dots, 1))
    draw_discs(
        scene.canvas, scene.shape.points(rng, dots, 0.1, 0.95), rng.uniform(0.014, 0.026, dots), small, 0.75
    )


def paint_ulcer(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Ulceration: a raw red to dark red erosion with an amber crust at its edge."""
    patch = scene.blob(rng, (0.0, 0.5), 0.20 + 0.22 * strength, ragged=0.45)
    crust = smoothstep(0.05, 0.5, patch)
    scene.canvas.paint(crust * np.float32(0.9 * min(1.0, 1.5 * strength)), scene.tint((0.70, 0.40, 0.18)))
    raw = smoothstep(
        0.45, 0.9, patch + np.float32(0.12) * noise(rng, scene.canvas.x_HW, scene.canvas.y_HW, 6.0)
    )
    scene.canvas.paint(raw * np.float32(0.9 * min(1.0, 1.5 * strength)), scene.tint((0.50, 0.08, 0.09)))


def paint_scale(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Surface scale: ragged white to yellow flakes, some shining."""
    canvas = scene.canvas
    coarse = noise(rng, canvas.x_HW, canvas.y_HW, 2.0 / scene.look.radius)
    fine = noise(rng, canvas.x_HW, canvas.y_HW, 8.0)
    flakes = smoothstep(1.15, 1.75, coarse + 0.7 * fine + np.float32(0.5 * strength))
    canvas.paint(flakes * scene.shape.body_HW * np.float32(0.9 * strength), scene.tint((0.95, 0.89, 0.74)))
    shine = smoothstep(2.0, 2.6, coarse + 0.9 * fine + np.float32(0.5 * strength))
    canvas.paint(shine * scene.shape.body_HW * np.float32(0.9 * strength), (0.99, 0.98, 0.95))


def paint_strawberry(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Strawberry pattern: red pseudo-network (erythema) around pale follicles with a yellow plug."""
    canvas = scene.canvas
    mesh = honeycomb(rng, canvas.x_HW, canvas.y_HW, rng.uniform(0.16, 0.21), 0.35)
    place = scene.shape.body_HW * np.float32(strength)
    canvas.paint(0.50 * place * smoothstep(0.35, 0.80, mesh), scene.tint((0.72, 0.27, 0.26)))
    canvas.paint(0.65 * place * smoothstep(0.32, 0.10, mesh), scene.tint((0.93, 0.78, 0.68)))
    canvas.paint(0.65 * place * smoothstep(0.08, 0.02, mesh), scene.tint((0.80, 0.62, 0.36)))


def paint_scar(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Central white scar-like patch crossed by shiny white lines (dermatofibroma)."""
    patch = scene.blob(rng, (0.0, 0.12), 0.50, ragged=0.15)
    scene.canvas.paint(patch * np.float32(0.85 * strength), scene.tint((0.96, 0.86, 0.85)))
    mesh = honeycomb(rng, scene.canvas.x_HW, scene.canvas.y_HW, 0.12, 0.6)
    scene.canvas.paint(
        patch * smoothstep(0.6, 0.85, mesh) * np.float32(0.6 * strength), scene.tint((1.0, 0.97, 0.97))
    )


def paint_lacunae(scene: Scene, strength: float, rng: np.random.Generator) -> None:
    """Red, purple or blue-black lacunae: packed round lakes of blood between pale septa."""
    canvas, shape = scene.canvas, scene.shape
    hue = float(rng.uniform(0.0, 2.0))
    canvas.paint(shape.body_HW * np.float32(0.35 * strength), scene.tint(_blood(hue) * 0.5 + 0.42))
    count = round(8 + 12 * strength)
    centre = shape.points(rng, count, 0.0, 0.86)
    radius = scene.look.radius * rng.uniform(0.16, 0.33, count)
    colours = np.array(
        [scene.tint(_blood(float(np.clip(hue + rng.normal(0.0, 0.3), 0.0, 2.0)))) for _ in range(count)]
    )
    septum = np.clip(colours * 0.4 + 0.55 * scene.tint((0.95, 0.80, 0.84)), 0.0, 1.0)
    for one in range(count):
        row = slice(one, one + 1)
        draw_discs(canvas, centre[row], radius[row] * 1.18, septum[row], 0.8 * strength, 0.25, shape.body_HW)
        draw_discs(canvas, centre[row], radius[row], colours[row], 0.95 * strength, 0.35, shape.body_HW)
        core = centre[row] + 0.12 * radius[row, None]
        draw_discs(canvas, core, 0.55 * radius[row], colours[row] * 0.6, 0.55 * strength, 0.9, shape.body_HW)


def _blood(hue: float) -> Floats:
    """Return the colour of a lake of blood: 0 red, 1 purple, 2 blue-black (thrombosed)."""
    stops = np.array([[0.80, 0.10, 0.17], [0.50, 0.08, 0.30], [0.11, 0.08, 0.17]])
    return np.array([np.interp(hue, [0.0, 1.0, 2.0], stops[:, channel]) for channel in range(3)])
