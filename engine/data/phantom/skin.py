"""Skin under a phantom lesion, and what the photograph adds: hair, gel bubbles, light, vignette, blur.

Legend: H, W canvas rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter

from engine.data.phantom.canvas import (
    Canvas,
    Floats,
    View,
    draw_curve,
    draw_discs,
    honeycomb,
    new_canvas,
    noise,
)

TONES: Final = np.array(
    [
        [0.94, 0.80, 0.75],
        [0.90, 0.74, 0.66],
        [0.82, 0.63, 0.52],
        [0.69, 0.49, 0.37],
        [0.52, 0.35, 0.25],
        [0.35, 0.23, 0.17],
    ]
)
"""Mean colour of unaffected skin from Fitzpatrick type I to VI (RGB 0-1)."""


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What the views of one lesion share: skin ``tone`` (0 type I .. 5 type VI), hair and freckles."""

    tone: float
    skin: Floats
    hairs: float
    hair_colour: Floats
    freckles: int

    @property
    def skin_type(self) -> str:
        """The nearest Fitzpatrick type, "I" to "VI"."""
        return ("I", "II", "III", "IV", "V", "VI")[round(self.tone)]


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw skin and hair; tones lean to the light types, as dermoscopy collections do, but reach type VI."""
    tone = float(5.0 * rng.beta(1.1, 2.6))
    skin = np.array([np.interp(tone, np.arange(6), TONES[:, channel]) for channel in range(3)])
    flush = rng.normal(0.0, 1.0)
    skin = skin * (1.0 + np.array([0.015, -0.035, -0.03]) * flush)
    blond = float(rng.random()) < 0.15 and tone < 2.0
    colour = np.array([0.50, 0.38, 0.24]) if blond else np.array([0.14, 0.10, 0.09])
    hairs = float(rng.gamma(1.5, 5.0)) if rng.random() < 0.35 else 0.0
    freckles = int(rng.poisson(5.0)) if rng.random() < 0.25 else 0
    return Patient(
        tone=tone, skin=skin, hairs=hairs, hair_colour=colour * rng.uniform(0.7, 1.3), freckles=freckles
    )


def paint_skin(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Fill the canvas with skin: vascular mottling, skin markings and, on some patients, freckles."""
    x, y = canvas.x_HW, canvas.y_HW
    canvas.rgb_HWC[...] = patient.skin.astype(np.float32)
    flush = 0.030 * noise(rng, x, y, 1.2, 6) + 0.015 * noise(rng, x, y, 6.0, 6)
    canvas.rgb_HWC[...] *= 1.0 + flush[..., None] * np.array([0.15, 1.0, 0.9], dtype=np.float32)
    markings = honeycomb(rng, x, y, 0.085, 0.7) - 0.66
    grain = noise(rng, x, y, 14.0, 6)
    canvas.rgb_HWC[...] *= (1.0 - 0.05 * markings + 0.010 * grain)[..., None]
    centre = rng.uniform(-1.2, 1.2, (patient.freckles, 2))
    colour = np.tile(patient.skin * np.array([0.80, 0.66, 0.58]), (patient.freckles, 1))
    draw_discs(canvas, centre, rng.uniform(0.02, 0.06, patient.freckles), colour, 0.6, blur=0.9)


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """One view: its geometry, its light, and the seed of hair and bubbles."""

    view: View
    brightness: float
    cast: Floats
    vignette: float
    blur: float
    bubbles: int
    glare: bool


def draw_photograph(rng: np.random.Generator) -> Photograph:
    """Draw how one photograph is taken: any rotation, zoom 0.85-1.2, a slight shift, light and focus."""
    return Photograph(
        view=View(
            angle=float(rng.uniform(-np.pi, np.pi)),
            zoom=float(np.exp(rng.uniform(-0.16, 0.18))),
            mirror=False,
            shift=(float(rng.normal(0.0, 0.06)), float(rng.normal(0.0, 0.06))),
        ),
        brightness=float(np.exp(rng.normal(0.0, 0.09))),
        cast=np.exp(rng.normal(0.0, [0.020, 0.015, 0.035])),
        vignette=float(rng.uniform(0.0, 0.25) if rng.random() < 0.92 else rng.uniform(0.7, 1.0)),
        blur=float(rng.uniform(0.004, 0.016)),
        bubbles=int(rng.poisson(4.0)) if rng.random() < 0.2 else 0,
        glare=bool(rng.random() < 0.12),
    )


def finish(canvas: Canvas, patient: Patient, photograph: Photograph, rng: np.random.Generator) -> None:
    """Lay hair, bubbles, glare, light and vignette over a painted canvas, in place (values 0-1)."""
    plain = new_canvas(canvas.side, View())
    image = Canvas(rgb_HWC=canvas.rgb_HWC, x_HW=plain.x_HW, y_HW=plain.y_HW, view=View(), pixel=plain.pixel)
    if photograph.blur > 0.0:
        canvas.rgb_HWC[...] = gaussian_filter(canvas.rgb_HWC, (*[photograph.blur * canvas.side / 2] * 2, 0.0))
    _lay_hair(image, patient, rng)
    _lay_bubbles(image, photograph, rng)
    radius = np.hypot(image.x_HW, image.y_HW)
    falloff = 1.0 - 0.30 * photograph.vignette * np.clip(radius - 0.3, 0.0, 2.0) ** 2
    if photograph.vignette > 0.6:
        falloff *= 1.0 - np.clip((radius - 1.18) / 0.10, 0.0, 0.96)
    tilt = rng.normal(0.0, 0.03, 2)
    falloff *= 1.0 + np.float32(tilt[0]) * image.x_HW + np.float32(tilt[1]) * image.y_HW
    canvas.rgb_HWC[...] *= falloff[..., None] * (photograph.brightness * photograph.cast).astype(np.float32)
    np.clip(canvas.rgb_HWC, 0.0, 1.0, out=canvas.rgb_HWC)


def _lay_hair(image: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Dark strands, most of them in one direction; each view shows others (shaved or combed)."""
    count = int(rng.poisson(patient.hairs))
    lie = rng.uniform(0.0, np.pi)
    for _ in range(count):
        angle = float(lie + rng.normal(0.0, 0.45))
        length = float(rng.uniform(0.5, 2.2))
        x, y = rng.uniform(-1.1, 1.1, 2)
        start = (float(x - 0.5 * length * np.cos(angle)), float(y - 0.5 * length * np.sin(angle)))
        width = float(rng.uniform(0.012, 0.024))
        bow = float(rng.normal(0.0, 0.10)) * length
        draw_curve(image, start, angle, length, (width, 0.5 * width), patient.hair_colour, 0.85, bow=bow)


def _lay_bubbles(image: Canvas, photograph: Photograph, rng: np.random.Generator) -> None:
    """Bubbles of immersion gel: thin bright rings with a glint; glare: a few overexposed patches."""
    for _ in range(photograph.bubbles):
        middle, radius = rng.uniform(-1.0, 1.0, 2), float(rng.uniform(0.03, 0.10))
        distance = np.hypot(image.x_HW - np.float32(middle[0]), image.y_HW - np.float32(middle[1]))
        ring = np.exp(-(((distance - radius) / max(0.10 * radius, 0.7 * image.pixel)) ** 2))
        image.paint((0.45 * ring).astype(np.float32), (0.97, 0.97, 0.98))
        glint = middle - 0.45 * radius
        draw_discs(image, glint[None], np.array([0.22 * radius]), np.ones((1, 3)), 0.9, blur=0.6)
    if photograph.glare:
        count = int(rng.integers(2, 7))
        middle = rng.normal(0.0, 0.35, 2) + rng.normal(0.0, 0.10, (count, 2))
        draw_discs(image, middle, rng.uniform(0.012, 0.035, count), np.ones((count, 3)), 0.9, blur=0.5)
