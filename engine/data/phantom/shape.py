"""The outline of a phantom lesion: asymmetry and border of the ABCD rule, and the exact inside of it.

Legend: A angles of the outline table; H, W canvas rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.data.phantom.appearance import Appearance
from engine.data.phantom.canvas import Canvas, Field, Floats, noise, smoothstep

ANGLES: Final = 512


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Radius (half image sides) and edge softness (share of the radius) at ANGLES even angles from -pi to pi."""

    radius_A: Floats
    softness_A: Floats
    streak_angles: Floats
    fringe: float

    def radius_at(self, angle: Floats) -> Floats:
        """Return the radius at the given angles (radians, -pi to pi)."""
        return np.interp(angle, _GRID, self.radius_A, period=2 * np.pi)


_GRID: Final = np.linspace(-np.pi, np.pi, ANGLES, endpoint=False)


def draw_outline(look: Appearance, rng: np.random.Generator) -> Outline:
    """Draw a closed outline: low harmonics carry asymmetry, high ones the irregular border, spikes the streaks."""
    axis = rng.uniform(0.0, np.pi)
    log_radius = np.log(look.radius) + look.elongation * np.cos(2.0 * (_GRID - axis))
    for k in range(1, 4):
        amplitude = (0.03 + 0.16 * look.asymmetry) / k * rng.normal(0.0, 0.8)
        log_radius += amplitude * np.cos(k * _GRID + rng.uniform(0.0, 2 * np.pi))
    for k in range(4, 17):
        amplitude = (0.006 + 0.16 * look.irregularity) / k**0.8 * rng.normal(0.0, 0.6)
        log_radius += amplitude * np.cos(k * _GRID + rng.uniform(0.0, 2 * np.pi))
    streaks = _streak_angles(look, rng)
    for angle in streaks:
        away = np.angle(np.exp(1j * (_GRID - angle)))
        log_radius += rng.uniform(0.08, 0.24) * np.exp(-((away / rng.uniform(0.03, 0.06)) ** 2))
    soften = 1.0 + 0.8 * look.chaos * np.cos(_GRID + rng.uniform(0.0, 2 * np.pi))
    return Outline(
        radius_A=np.minimum(np.exp(log_radius), 0.93),
        softness_A=np.clip(look.softness * soften, 0.02, 0.9),
        streak_angles=streaks,
        fringe=0.02 + 0.05 * look.irregularity,
    )


def _streak_angles(look: Appearance, rng: np.random.Generator) -> Floats:
    """Streaks stand in one or two sectors, not around the whole border (that is a Reed nevus)."""
    count = round(15 * look.streaks) if look.streaks > 0.15 else 0
    sectors = rng.uniform(-np.pi, np.pi, 2)
    angles = rng.choice(sectors, count) + rng.normal(0.0, 0.45, count)
    return np.asarray(np.angle(np.exp(1j * angles)))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A lesion laid on a canvas.

    ``depth_HW`` is 1 in the middle, 0 on the outline, negative outside; ``body_HW`` is the lesion's opacity there (0-1,
    fading over the outline's softness); ``angle_HW`` the polar angle.
    """

    outline: Outline
    depth_HW: Field
    body_HW: Field
    angle_HW: Field

    @property
    def inside_HW(self) -> Field:
        """1 inside the outline, 0 outside, without softness: the mask before downsampling."""
        return (self.depth_HW > 0).astype(np.float32)

    def points(self, rng: np.random.Generator, count: int, low: float = 0.0, high: float = 1.0) -> Floats:
        """Draw (count, 2) lesion points between the shares ``low`` and ``high`` of the radius, even by area."""
        angle = rng.uniform(-np.pi, np.pi, count)
        radius = self.outline.radius_at(angle) * np.sqrt(rng.uniform(low**2, high**2, count))
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def lay(outline: Outline, canvas: Canvas, rng: np.random.Generator) -> Shape:
    """Lay an outline on a canvas; ``rng`` frays the border, the same in every view."""
    angle = np.arctan2(canvas.y_HW, canvas.x_HW).astype(np.float32)
    position = (angle + np.float32(np.pi)) * np.float32(ANGLES / (2 * np.pi))
    radius_HW = _periodic(position, outline.radius_A)
    softness_HW = np.maximum(_periodic(position, outline.softness_A), np.float32(1.5 * canvas.pixel))
    depth = 1.0 - np.hypot(canvas.x_HW, canvas.y_HW) / radius_HW
    coarse, fine = noise(rng, canvas.x_HW, canvas.y_HW, 2.5, 6), noise(rng, canvas.x_HW, canvas.y_HW, 7.0)
    fray = (coarse + np.float32(0.5) * fine) * smoothstep(0.6, 0.0, np.abs(depth).astype(np.float32))
    frayed: Field = (depth + np.float32(outline.fringe) * fray).astype(np.float32)
    body = smoothstep(0.0, 1.0, (frayed / softness_HW + 0.5).astype(np.float32))
    return Shape(outline=outline, depth_HW=frayed, body_HW=body, angle_HW=angle)


def _periodic(position: Field, table_A: Floats) -> Field:
    """Linear interpolation in a periodic table."""
    low = np.floor(position).astype(np.int32)
    share = position - low
    table = table_A.astype(np.float32)
    return np.asarray(table[low % ANGLES] * (1 - share) + table[(low + 1) % ANGLES] * share, dtype=np.float32)
